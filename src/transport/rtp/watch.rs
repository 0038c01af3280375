//! Watches whether audio comes at all: two seconds without any is a fault that has an address, a port and a codec.

use std::net::SocketAddr;
use std::time::Duration;

use crate::call::Moment;
use crate::call::leg::{NoAudio, NoAudioCause};

/// Says once in a call that no audio has come.
#[derive(Debug, Default)]
pub(super) struct Watch {
    since: Option<Moment>,
    done: bool,
    /// The last stranger that sent something.
    stranger: Option<SocketAddr>,
    /// The last payload type that was not agreed.
    other_payload: Option<u8>,
}

/// What was agreed and what came instead.
pub(super) struct Line {
    pub expected: Option<SocketAddr>,
    pub port: u16,
    pub codec: &'static str,
    pub payload_type: u8,
    pub strangers: u64,
    pub unauthentic: u64,
}

impl Watch {
    /// Audio came.
    pub(super) const fn heard(&mut self) {
        self.done = true;
    }

    pub(super) const fn stranger(&mut self, from: SocketAddr) {
        self.stranger = Some(from);
    }

    pub(super) const fn other_payload(&mut self, payload_type: u8) {
        self.other_payload = Some(payload_type);
    }

    /// What is wrong, once it has been wrong for long enough. `receives` is false while none is to come.
    pub(super) fn check(&mut self, receives: bool, line: &Line, now: Moment) -> Option<NoAudio> {
        if self.done {
            return None;
        }
        if !receives {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) < PATIENCE {
            return None;
        }
        self.done = true;
        let cause = match self.other_payload {
            Some(payload_type) => NoAudioCause::OtherCodec { payload_type },
            None if line.unauthentic > 0 => NoAudioCause::WrongKey { packets: line.unauthentic },
            None => match self.stranger.filter(|_| line.strangers > 0) {
                Some(from) => NoAudioCause::OtherAddress { from, packets: line.strangers },
                None => NoAudioCause::Nothing,
            },
        };
        let Line { expected, port, codec, payload_type, .. } = *line;
        Some(NoAudio { expected, port, codec, payload_type, cause })
    }
}

/// From the first tick on which audio may come.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn line(strangers: u64, unauthentic: u64) -> Line {
        let expected = "192.0.2.1:4000".parse().ok();
        Line { expected, port: 20_000, codec: "PCMU", payload_type: 0, strangers, unauthentic }
    }

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn two_silent_seconds_are_told_once_with_their_cause() {
        let stranger: SocketAddr = "203.0.113.9:6000".parse().unwrap();
        type Prepare = fn(&mut Watch);
        let cases: [(Prepare, Line, NoAudioCause); 4] = [
            (|_| {}, line(0, 0), NoAudioCause::Nothing),
            (|_| {}, line(0, 7), NoAudioCause::WrongKey { packets: 7 }),
            (
                |watch| watch.stranger("203.0.113.9:6000".parse().unwrap()),
                line(3, 0),
                NoAudioCause::OtherAddress { from: stranger, packets: 3 },
            ),
            (|watch| watch.other_payload(18), line(0, 0), NoAudioCause::OtherCodec { payload_type: 18 }),
        ];
        for (prepare, line, cause) in cases {
            let mut watch = Watch::default();
            assert_eq!(watch.check(true, &line, at(500)), None);
            prepare(&mut watch);
            assert_eq!(watch.check(true, &line, at(2_480)), None);
            let told = watch.check(true, &line, at(2_500)).unwrap();
            assert_eq!((told.cause, told.port, told.codec), (cause, 20_000, "PCMU"));
            assert_eq!(watch.check(true, &line, at(9_000)), None);
        }
    }

    #[test]
    fn neither_a_hold_nor_a_caller_who_was_heard_is_told() {
        let mut watch = Watch::default();
        for ms in [0, 1_900] {
            assert_eq!(watch.check(true, &line(0, 0), at(ms)), None);
        }
        assert_eq!(watch.check(false, &line(0, 0), at(5_000)), None);
        assert_eq!(watch.check(true, &line(0, 0), at(6_000)), None);
        watch.heard();
        assert_eq!(watch.check(true, &line(0, 0), at(60_000)), None);
    }
}
