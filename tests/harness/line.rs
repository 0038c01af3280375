//! A telephone at the far end of a seeded network, and our leg at the near end. All of the media path is in it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use offhook::call::Moment;
use offhook::call::leg::{Leg, LegEvent, LegStats};
use offhook::sim::audio::{dbfs, rms};
use offhook::sim::clock::Dice;
use offhook::sim::network::{Network, Profile};
use offhook::store::record::EndReason;
use offhook_media::codec::CodecKind;
use offhook_media::dtmf::Digit;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::{FRAME, Frame, SILENCE};

/// 20 ms that left our side or reached the caller's ear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    pub at: Moment,
    pub dbfs: f64,
    /// When the last sample above the level of silence was, counted from `at`.
    pub loud_for: Duration,
}

impl Slice {
    pub fn is_voiced(&self) -> bool {
        self.loud_for > Duration::ZERO
    }
}

/// Something at the telephone's microphone from `at` on.
#[derive(Clone, Debug)]
pub struct Sound {
    pub at: Moment,
    pub samples: Arc<[i16]>,
}

/// See the module's header. Times are those of the call under test.
pub struct Line {
    begins: Moment,
    sounds: Vec<Sound>,
    keys: Vec<(Moment, Digit)>,
    /// From here on the telephone sends nothing.
    dead_from: Option<Moment>,
    sent_by_phone: u64,
    phone_out: RtpOutbound,
    phone_in: RtpInbound,
    up: Network<Vec<u8>>,
    down: Network<Vec<u8>>,
    inbound: RtpInbound,
    outbound: RtpOutbound,
    /// Frames that the far side holds in hand, on lines that keep a lead there.
    far: Option<VecDeque<Frame>>,
    /// What we sent, frame by frame.
    pub sent: Vec<Slice>,
    /// What the caller heard, frame by frame.
    pub heard: Vec<Slice>,
    pub clears: Vec<Moment>,
    pub hung_up: Option<EndReason>,
}

impl Line {
    pub fn new(begins: Moment, profile: Profile, seed: u64) -> Self {
        Self {
            begins,
            sounds: Vec::new(),
            keys: Vec::new(),
            dead_from: None,
            sent_by_phone: 0,
            phone_out: RtpOutbound::new(sending(1)),
            phone_in: RtpInbound::new(RECEIVING),
            up: Network::new(profile, Dice::new(seed, 1, 0)),
            down: Network::new(profile, Dice::new(seed, 2, 0)),
            inbound: RtpInbound::new(RECEIVING),
            outbound: RtpOutbound::new(sending(2)),
            far: None,
            sent: Vec::new(),
            heard: Vec::new(),
            clears: Vec::new(),
            hung_up: None,
        }
    }

    /// The far side plays what it is sent in order, from a buffer that is kept 100 ms full and can be emptied.
    pub fn keeps_a_lead(&mut self) {
        self.far = Some(VecDeque::new());
    }

    pub fn sound(&mut self, sound: Sound) {
        self.sounds.push(sound);
    }

    pub fn key(&mut self, at: Moment, digit: Digit) {
        self.keys.push((at, digit));
    }

    pub fn falls_silent(&mut self, at: Moment) {
        self.dead_from = Some(at);
    }

    /// The telephone's side up to `now`: what it sends goes into the network, what comes out of it is played.
    fn phone(&mut self, now: Moment) {
        while let Some(at) = self.next_of_phone().filter(|at| *at <= now) {
            let frame = self.microphone(at - TICK);
            self.sent_by_phone += 1;
            if self.dead_from.is_some_and(|dead| at >= dead) {
                continue;
            }
            while let Some(index) = self.keys.iter().position(|(pressed, _)| *pressed <= at) {
                let (_, digit) = self.keys.remove(index);
                self.phone_out.press(digit, KEY_MS).expect("room for a key");
            }
            let mut datagram = DATAGRAM;
            self.phone_out.frame(&frame);
            while let Some(length) = self.phone_out.poll(&mut datagram) {
                self.up.push(at, datagram[..length].to_vec());
            }
        }
        while let Some((arrival, datagram)) = self.down.pop(now) {
            self.phone_in.packet(&datagram, arrival).expect("our own packets are sound");
        }
        if let Some(far) = &mut self.far {
            let frame = far.pop_front().unwrap_or(SILENCE);
            return self.heard.push(slice(now, &frame));
        }
        let mut frame = SILENCE;
        self.phone_in.tick(now);
        while self.phone_in.tap(&mut frame).is_some() {}
        self.phone_in.pull(now, &mut frame);
        self.heard.push(slice(now, &frame));
    }

    fn next_of_phone(&self) -> Option<Moment> {
        Some(self.begins + PHASE + TICK * u32::try_from(self.sent_by_phone + 1).ok()?)
    }

    /// The 20 ms at the microphone from `from` on.
    fn microphone(&self, from: Moment) -> Frame {
        let start = samples(from);
        let mut frame = SILENCE;
        for sound in &self.sounds {
            let offset = start - samples(sound.at);
            for (place, sample) in (offset..).zip(frame.iter_mut()) {
                let more = usize::try_from(place).ok().and_then(|place| sound.samples.get(place));
                *sample = sample.saturating_add(more.copied().unwrap_or(0));
            }
        }
        frame
    }
}

impl Leg for Line {
    fn drain(&mut self, now: Moment, sink: &mut dyn FnMut(LegEvent<'_>)) {
        self.phone(now);
        while let Some((arrival, datagram)) = self.up.pop(now) {
            self.inbound.packet(&datagram, arrival).expect("the telephone's packets are sound");
        }
        self.inbound.tick(now);
        let mut frame = SILENCE;
        while let Some(arrival) = self.inbound.tap(&mut frame) {
            sink(LegEvent::Tap { frame: &frame, arrival });
        }
        while let Some(digit) = self.inbound.digit() {
            sink(LegEvent::Digit(digit));
        }
        let kind = self.inbound.pull(now, &mut frame);
        sink(LegEvent::Heard { frame: &frame, kind });
    }

    fn wants(&self, _now: Moment) -> usize {
        self.far.as_ref().map_or(1, |far| LEAD.saturating_sub(far.len()))
    }

    fn send(&mut self, frame: Option<&Frame>, now: Moment) {
        if let Some(far) = &mut self.far {
            far.extend(frame);
            return;
        }
        let frame = frame.unwrap_or(&SILENCE);
        self.sent.push(slice(now, frame));
        let mut datagram = DATAGRAM;
        self.outbound.frame(frame);
        while let Some(length) = self.outbound.poll(&mut datagram) {
            self.down.push(now, datagram[..length].to_vec());
        }
    }

    fn clear(&mut self, now: Moment) -> Duration {
        self.clears.push(now);
        let dropped = self.ahead(now);
        self.far.iter_mut().for_each(VecDeque::clear);
        dropped
    }

    fn unheard(&self, now: Moment) -> Duration {
        if self.far.is_some() { self.ahead(now) } else { 2 * TICK }
    }

    fn ahead(&self, _now: Moment) -> Duration {
        TICK * self.far.as_ref().map_or(0, |far| far.len() as u32)
    }

    fn hang_up(&mut self, reason: &EndReason) {
        self.hung_up = Some(reason.clone());
    }

    fn stats(&self) -> LegStats {
        LegStats { frames_sent: self.sent.len() as u64, ..LegStats::default() }
    }
}

pub const TICK: Duration = Duration::from_millis(20);

/// 100 ms.
const LEAD: usize = 5;

/// The telephone's frames do not end when ours do.
const PHASE: Duration = Duration::from_millis(7);
const KEY_MS: u32 = 100;
const RECEIVING: InboundConfig =
    InboundConfig { dtmf_payload_type: Some(101), ..InboundConfig::new(CodecKind::Pcmu, 0) };

const fn sending(ssrc: u32) -> OutboundConfig {
    OutboundConfig { dtmf_payload_type: Some(101), ssrc, first_seq: 1, ..OutboundConfig::new(CodecKind::Pcmu, 0) }
}

fn samples(moment: Moment) -> i64 {
    i64::try_from(moment.as_micros() / 125).expect("a short call")
}

fn slice(at: Moment, frame: &Frame) -> Slice {
    let last = frame.iter().rposition(|sample| sample.unsigned_abs() > QUIET);
    let loud_for = last.map_or(Duration::ZERO, |index| Duration::from_micros((index as u64 + 1) * 125));
    debug_assert!(loud_for <= TICK && FRAME == 160);
    Slice { at, dbfs: dbfs(rms(frame)), loud_for }
}

/// -50 dBFS.
const QUIET: u16 = 104;
