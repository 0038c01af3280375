//! The conditions under which turn-taking is measured, as rows of data: who speaks, in what noise, through which echo, over
//! what network.
//!
//! Deliberately absent: how a row's trials are made (`trial.rs`) and what counts as good (`score.rs`).

use super::noise::Noise;
use crate::sim::network::Profile;

/// One row of the table of conditions.
#[derive(Debug, PartialEq)]
pub struct Condition {
    pub name: &'static str,
    pub speech: Speech,
    /// One of these is drawn for each trial; none is a line with nothing but its own noise at -66 dBFS.
    pub noises: &'static [Noise],
    /// The noise lies by this much below the caller's level, dB.
    pub snr_db: f32,
    pub echo: Echo,
    /// When the caller begins, s after the bot did.
    pub lead_s: (f32, f32),
    pub network: Network,
    /// The caller has said a sentence before, while the bot was silent, and so is known.
    pub known: bool,
    /// The figures that it counts for.
    pub counts: Counts,
    /// Its share of the trials; for conditions without speech, of the minutes.
    pub weight: u32,
}

/// What the caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Says a sentence while the bot speaks.
    Sentence,
    /// Says a word shorter than 750 ms while the bot speaks.
    Word,
    /// Says nothing.
    Nothing,
}

/// What comes back of the bot's voice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Echo {
    None,
    /// Return loss, dB; delays of 40 to 200 ms.
    Loss(f32),
    /// The same with delays of 200 to 270 ms.
    Far(f32),
    /// The same as `Loss` with a delay that jumps every 5 s.
    Jumping(f32),
}

/// What the network does to the caller's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Clean,
    /// Up to 20 ms late, in order.
    Jitter20,
    /// 3 % are lost, the others come 40 ms late.
    Loss3,
}

impl Network {
    /// As every simulated network of this project is told what to do.
    pub fn profile(self) -> Profile {
        match self {
            Self::Clean => Profile::default(),
            Self::Jitter20 => Profile { jitter_ms: 20.0, ..Profile::default() },
            Self::Loss3 => Profile { loss: 0.03, delay_ms: 40.0, ..Profile::default() },
        }
    }
}

/// The figures that a condition counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Onsets: stop times and misses of the core. Nothing said: false holds and commits of the core.
    Core,
    /// As `Core`, and the line is clean: return loss of 35 dB or more, noise 20 dB below a caller or lower.
    CoreClean,
    /// Misses at 5 dB.
    Snr5,
    /// Jumps of the echo path.
    Jumps,
    /// A second voice 20 dB below a caller who is known.
    SecondVoice20,
    /// A second voice 12 dB below a caller who is known.
    SecondVoice12,
    /// Only its own row.
    Row,
}

impl Counts {
    /// Whether it belongs to the core.
    pub const fn is_core(self) -> bool {
        matches!(self, Self::Core | Self::CoreClean)
    }
}

impl Echo {
    /// Return loss, dB.
    pub const fn erl_db(self) -> Option<f32> {
        match self {
            Self::None => None,
            Self::Loss(db) | Self::Far(db) | Self::Jumping(db) => Some(db),
        }
    }
}

/// Conditions in which a caller speaks.
pub static ONSETS: [Condition; 27] = [
    onset("clean", 40.0, Counts::Core, 160).noises(&[Noise::Pink]),
    onset("SNR 20", 20.0, Counts::Core, 160),
    onset("SNR 10", 10.0, Counts::Core, 160),
    onset("SNR 5", 5.0, Counts::Snr5, 160),
    onset("SNR 0", 0.0, Counts::Row, 80),
    onset("ERL 35", 25.0, Counts::Core, 120).noises(PLACES).echo(Echo::Loss(35.0)).lead(4.0, 5.0),
    onset("ERL 25", 25.0, Counts::Core, 120).noises(PLACES).echo(Echo::Loss(25.0)).lead(4.0, 5.0),
    onset("ERL 15", 25.0, Counts::Core, 120).noises(PLACES).echo(Echo::Loss(15.0)).lead(4.0, 5.0),
    onset("ERL 25, SNR 10", 10.0, Counts::Core, 120).noises(PLACES).echo(Echo::Loss(25.0)).lead(4.0, 5.0),
    onset("short words", 20.0, Counts::Core, 120).noises(PLACES).says(Speech::Word),
    onset("ERL 25, first second", 25.0, Counts::Row, 80).noises(&[Noise::Pink]).echo(Echo::Loss(25.0)).lead(0.6, 1.2),
    onset("ERL 15, first second", 25.0, Counts::Row, 80).noises(&[Noise::Pink]).echo(Echo::Loss(15.0)).lead(0.6, 1.2),
    onset("clean, caller known", 40.0, Counts::Row, 80).noises(&[Noise::Pink]).known(),
    onset("ERL 25, caller known", 25.0, Counts::Row, 60).noises(PLACES).echo(Echo::Loss(25.0)).lead(4.0, 5.0).known(),
    onset("clean, late", 40.0, Counts::Row, 60).noises(&[Noise::Pink]).lead(12.0, 14.0),
    onset("SNR 10, late", 10.0, Counts::Row, 60).noises(PLACES).lead(12.0, 14.0),
    onset("ERL 15, late", 25.0, Counts::Row, 60).noises(&[Noise::Pink]).echo(Echo::Loss(15.0)).lead(12.0, 14.0),
    onset("ERL 25, path jumped", 25.0, Counts::Row, 60).noises(&[Noise::Pink]).echo(Echo::Jumping(25.0)).lead(5.2, 6.0),
    onset("ERL 15, path jumped", 25.0, Counts::Row, 60).noises(&[Noise::Pink]).echo(Echo::Jumping(15.0)).lead(5.2, 6.0),
    onset("ERL 25, far", 25.0, Counts::Row, 60).noises(&[Noise::Pink]).echo(Echo::Far(25.0)).lead(4.0, 5.0),
    onset("ERL 15, far", 25.0, Counts::Row, 60).noises(&[Noise::Pink]).echo(Echo::Far(15.0)).lead(4.0, 5.0),
    onset("jitter 20 ms", 20.0, Counts::Row, 80).noises(PLACES).over(Network::Jitter20),
    onset("jitter 20 ms, ERL 25", 20.0, Counts::Row, 60)
        .noises(&[Noise::Pink])
        .echo(Echo::Loss(25.0))
        .lead(4.0, 5.0)
        .over(Network::Jitter20),
    onset("jitter 20 ms, short words", 20.0, Counts::Row, 60).noises(PLACES).says(Speech::Word).over(Network::Jitter20),
    onset("loss 3 %", 20.0, Counts::Row, 80).noises(PLACES).over(Network::Loss3),
    onset("loss 3 %, ERL 25", 20.0, Counts::Row, 60)
        .noises(&[Noise::Pink])
        .echo(Echo::Loss(25.0))
        .lead(4.0, 5.0)
        .over(Network::Loss3),
    onset("loss 3 %, short words", 20.0, Counts::Row, 60).noises(PLACES).says(Speech::Word).over(Network::Loss3),
];

/// Conditions in which a caller gives a short answer to a question.
pub static ANSWERS: [Condition; 8] = [
    onset("quiet line", 40.0, Counts::Core, 1).noises(&[Noise::Pink]).says(Speech::Word),
    onset("SNR 20", 20.0, Counts::Core, 1).says(Speech::Word),
    onset("SNR 10", 10.0, Counts::Core, 1).says(Speech::Word),
    onset("ERL 25", 25.0, Counts::Core, 1).noises(PLACES).echo(Echo::Loss(25.0)).lead(4.0, 5.0).says(Speech::Word),
    onset("ERL 15", 25.0, Counts::Core, 1).noises(PLACES).echo(Echo::Loss(15.0)).lead(4.0, 5.0).says(Speech::Word),
    onset("jitter 20 ms", 20.0, Counts::Core, 1).noises(PLACES).says(Speech::Word).over(Network::Jitter20),
    onset("loss 3 %", 20.0, Counts::Core, 1).noises(PLACES).says(Speech::Word).over(Network::Loss3),
    onset("SNR 5", 5.0, Counts::Row, 1).says(Speech::Word),
];

/// Lines on which callers pause within what they say.
pub static ROOMS: [Condition; 3] = [
    onset("quiet line", 40.0, Counts::Core, 1).noises(&[Noise::Pink]),
    onset("SNR 20", 20.0, Counts::Core, 1).noises(PLACES),
    onset("SNR 10", 10.0, Counts::Core, 1).noises(PLACES),
];

/// Conditions in which nobody speaks to the bot.
pub static QUIET: [Condition; 50] = [
    quiet("quiet line", 40.0, &[], Counts::CoreClean, 4),
    quiet("white 20", 20.0, &[Noise::White], Counts::CoreClean, 2),
    quiet("white 10", 10.0, &[Noise::White], Counts::Core, 2),
    quiet("white 5", 5.0, &[Noise::White], Counts::Core, 2),
    quiet("pink 20", 20.0, &[Noise::Pink], Counts::CoreClean, 2),
    quiet("pink 10", 10.0, &[Noise::Pink], Counts::Core, 2),
    quiet("pink 5", 5.0, &[Noise::Pink], Counts::Core, 2),
    quiet("street 20", 20.0, &[Noise::Street], Counts::CoreClean, 2),
    quiet("street 10", 10.0, &[Noise::Street], Counts::Core, 2),
    quiet("street 5", 5.0, &[Noise::Street], Counts::Core, 2),
    quiet("hum 20", 20.0, &[Noise::Hum], Counts::CoreClean, 2),
    quiet("hum 10", 10.0, &[Noise::Hum], Counts::Core, 2),
    quiet("hum 5", 5.0, &[Noise::Hum], Counts::Core, 2),
    quiet("any noise 0", 0.0, STEADY, Counts::Row, 4),
    quiet("babble 20", 20.0, &[Noise::Babble], Counts::Core, 2),
    quiet("babble 10", 10.0, &[Noise::Babble], Counts::Row, 2),
    quiet("music 20", 20.0, &[Noise::Music], Counts::Core, 2),
    quiet("music 10", 10.0, &[Noise::Music], Counts::Row, 2),
    quiet("clicks 10", 10.0, &[Noise::Clicks], Counts::Core, 4),
    quiet("clicks 0", 0.0, &[Noise::Clicks], Counts::Core, 4),
    quiet("level steps 10", 10.0, &[Noise::Steps], Counts::Core, 4),
    quiet("level steps 0", 0.0, &[Noise::Steps], Counts::Core, 4),
    quiet("coughs 10", 10.0, &[Noise::Coughs], Counts::Row, 4),
    quiet("coughs 0", 0.0, &[Noise::Coughs], Counts::Row, 4),
    quiet("breaths 15", 15.0, &[Noise::Breaths], Counts::Row, 4),
    quiet("breaths 5", 5.0, &[Noise::Breaths], Counts::Row, 4),
    quiet("keys 6", 6.0, &[Noise::Keys], Counts::Row, 4),
    quiet("second voice 20, caller unknown", 20.0, &[Noise::SecondVoice], Counts::Row, 3),
    quiet("second voice 12, caller unknown", 12.0, &[Noise::SecondVoice], Counts::Row, 3),
    quiet("second voice 20", 20.0, &[Noise::SecondVoice], Counts::SecondVoice20, 6).known(),
    quiet("second voice 12", 12.0, &[Noise::SecondVoice], Counts::SecondVoice12, 6).known(),
    quiet("echo 35", 40.0, &[], Counts::CoreClean, 10).echo(Echo::Loss(35.0)),
    quiet("echo 25", 40.0, &[], Counts::Core, 10).echo(Echo::Loss(25.0)),
    quiet("echo 15", 40.0, &[], Counts::Core, 10).echo(Echo::Loss(15.0)),
    quiet("echo 35, pink 20", 20.0, &[Noise::Pink], Counts::CoreClean, 2).echo(Echo::Loss(35.0)),
    quiet("echo 35, places 20", 20.0, PLACES, Counts::Core, 3).echo(Echo::Loss(35.0)),
    quiet("echo 25, pink 20", 20.0, &[Noise::Pink], Counts::Core, 2).echo(Echo::Loss(25.0)),
    quiet("echo 25, places 20", 20.0, PLACES, Counts::Core, 3).echo(Echo::Loss(25.0)),
    quiet("echo 15, pink 20", 20.0, &[Noise::Pink], Counts::Core, 2).echo(Echo::Loss(15.0)),
    quiet("echo 15, places 20", 20.0, PLACES, Counts::Core, 3).echo(Echo::Loss(15.0)),
    quiet("echo 25, babble 10", 10.0, &[Noise::Babble], Counts::Row, 2).echo(Echo::Loss(25.0)),
    quiet("jumps, echo 25", 40.0, &[], Counts::Jumps, 6).echo(Echo::Jumping(25.0)),
    quiet("jumps, echo 20", 40.0, &[], Counts::Jumps, 6).echo(Echo::Jumping(20.0)),
    quiet("jumps, echo 15", 40.0, &[], Counts::Jumps, 6).echo(Echo::Jumping(15.0)),
    quiet("far echo 25", 40.0, &[], Counts::Row, 4).echo(Echo::Far(25.0)),
    quiet("far echo 15", 40.0, &[], Counts::Row, 4).echo(Echo::Far(15.0)),
    quiet("jitter 20 ms, echo 25", 20.0, &[Noise::Pink], Counts::Row, 4).echo(Echo::Loss(25.0)).over(Network::Jitter20),
    quiet("jitter 20 ms, echo 15", 20.0, &[Noise::Pink], Counts::Row, 4).echo(Echo::Loss(15.0)).over(Network::Jitter20),
    quiet("loss 3 %, echo 25", 20.0, &[Noise::Pink], Counts::Row, 4).echo(Echo::Loss(25.0)).over(Network::Loss3),
    quiet("loss 3 %, echo 15", 20.0, &[Noise::Pink], Counts::Row, 4).echo(Echo::Loss(15.0)).over(Network::Loss3),
];

const STEADY: &[Noise] =
    &[Noise::White, Noise::Pink, Noise::Street, Noise::Babble, Noise::Hum, Noise::Music, Noise::Clicks];
const PLACES: &[Noise] = &[Noise::Pink, Noise::Street, Noise::Babble];

const fn onset(name: &'static str, snr_db: f32, counts: Counts, weight: u32) -> Condition {
    Condition {
        name,
        speech: Speech::Sentence,
        noises: STEADY,
        snr_db,
        echo: Echo::None,
        lead_s: (2.0, 2.6),
        network: Network::Clean,
        known: false,
        counts,
        weight,
    }
}

const fn quiet(name: &'static str, snr_db: f32, noises: &'static [Noise], counts: Counts, weight: u32) -> Condition {
    Condition { speech: Speech::Nothing, noises, ..onset(name, snr_db, counts, weight) }
}

impl Condition {
    const fn noises(self, noises: &'static [Noise]) -> Self {
        Self { noises, ..self }
    }

    const fn echo(self, echo: Echo) -> Self {
        Self { echo, ..self }
    }

    const fn lead(self, least: f32, most: f32) -> Self {
        Self { lead_s: (least, most), ..self }
    }

    const fn says(self, speech: Speech) -> Self {
        Self { speech, ..self }
    }

    const fn known(self) -> Self {
        Self { known: true, ..self }
    }

    const fn over(self, network: Network) -> Self {
        Self { network, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_row_each() {
        let mut names: Vec<_> = ONSETS.iter().chain(&QUIET).map(|condition| condition.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_clean_line_is_clean() {
        for condition in QUIET.iter().filter(|condition| condition.counts == Counts::CoreClean) {
            assert!(condition.snr_db >= 20.0, "{}", condition.name);
            assert!(condition.echo.erl_db().is_none_or(|erl| erl >= 35.0), "{}", condition.name);
        }
    }
}
