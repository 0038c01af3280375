//! A run of turn-taking trials as a whole: what is dealt to the calls before it, and what is made of them after it.

use std::path::Path;
use std::sync::Arc;

use super::caller::{TurnCaller, TurnPlan};
use super::figures::{Row, rows, samples};
use super::judge::{Evidence, Judged, judge};
use super::plan::{Deck, slack_ms};
use super::runs::{BotSide, Text};
use super::script::{Lexicon, Script};
use crate::sim::clock::Dice;
use crate::sim::lab::{Split, Trials, Voices};
use crate::sim::metrics::Samples;
use crate::sim::options::Options;
use crate::sim::records::ServerCall;
use crate::sim::report::CallReport;
use crate::sim::scenario::Scenario;

/// What a scenario asks for under `turn_taking`.
#[derive(Clone, Debug, serde::Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct TurnTaking {
    /// Trials in a call whose caller speaks.
    pub trials: u32,
    /// Trials in a call whose caller says nothing, and how long each is, s.
    pub quiet: u32,
    pub quiet_s: u32,
    /// The silence that ends a caller's turn, ms.
    pub endpoint_ms: u32,
    /// Names of conditions; all that a wire can have where there is none.
    pub conditions: Vec<String>,
}

impl Default for TurnTaking {
    fn default() -> Self {
        Self { trials: 15, quiet: 3, quiet_s: 20, endpoint_ms: 600, conditions: Vec::new() }
    }
}

/// Everything that the trials of a run are made from.
pub struct Session {
    scenario: Arc<Scenario>,
    wanted: TurnTaking,
    deck: Deck,
    trials: Trials,
    text: Option<Text>,
    recorded_words: usize,
    slack_ms: f64,
    seed: u64,
}

/// The trials of a run, judged.
pub struct TurnReport {
    pub rows: Vec<Row>,
    pub judged: Vec<Judged>,
    /// The bot's side of each call, by the call's number.
    pub sides: Vec<(usize, BotSide)>,
    /// How many of the bot's words a person has recorded; the others are formants.
    pub recorded_words: usize,
}

impl Session {
    /// The session of the scenario that asks for trials, if one does.
    ///
    /// # Errors
    /// Says which voices or conditions cannot be had.
    pub fn new(options: &Options, scenarios: &[Arc<Scenario>]) -> Result<Option<Self>, String> {
        let Some(scenario) = scenarios.iter().find(|scenario| scenario.turn_taking.is_some()) else { return Ok(None) };
        if scenarios.len() > 1 {
            return Err(format!(
                "scenario `{}`: trials of turn-taking are not mixed with other scenarios",
                scenario.name
            ));
        }
        let wanted = scenario.turn_taking.clone().unwrap_or_default();
        let voices = Voices::load(&options.voices).map_err(|e| format!("--voices: {e}"))?;
        let lexicon = lexicon(&options.voices);
        let text = options.embedded.then(|| Text::new(Script::new(options.seed).spoken(&lexicon)));
        Ok(Some(Self {
            scenario: Arc::clone(scenario),
            deck: Deck::new(&wanted)?,
            trials: Trials::new(Arc::new(voices), Split::HeldOut, options.seed),
            text,
            recorded_words: lexicon.recorded(),
            slack_ms: slack_ms(&options.network),
            seed: options.seed,
            wanted,
        }))
    }

    /// How long it will take, for whoever waits for it.
    pub fn patience(&self, options: &Options) -> String {
        let call_s = (self.wanted.trials * TRIAL_S).max(self.wanted.quiet * self.wanted.quiet_s);
        let waves = options.calls.div_ceil(options.concurrency.unwrap_or(options.calls));
        format!(
            "trials are made in real time: {call_s} s a call, about {} s in all, and then each is judged",
            call_s * waves
        )
    }

    /// The caller of a call.
    pub fn caller(&self, call: usize) -> TurnCaller {
        let plan = self.deck.plan(call, &self.scenario.called, &self.trials, &self.wanted, self.seed);
        let plan = TurnPlan { slack_ms: self.slack_ms, ..plan };
        TurnCaller::new(plan, Dice::new(self.seed, call as u64, 1))
    }

    /// Judges what was recorded of the calls.
    pub fn report(&self, calls: &[CallReport], records: &[(usize, &ServerCall)]) -> (TurnReport, Samples) {
        let (mut judged, mut sides) = (Vec::new(), Vec::new());
        for call in calls {
            let Some(timeline) = &call.timeline else { continue };
            let noted = records.iter().find(|(number, _)| *number == call.call);
            let noted = noted.map_or(&[][..], |(_, record)| &record.interruptions[..]);
            let evidence = Evidence { call: call.call, timeline, text: self.text.as_ref(), noted };
            let (side, trials) = judge(&evidence);
            judged.extend(trials);
            sides.push((call.call, side));
        }
        let samples = samples(&judged, self.wanted.endpoint_ms);
        (TurnReport { rows: rows(&judged), judged, sides, recorded_words: self.recorded_words }, samples)
    }
}

/// Writes the lines and flows of a server that says the script.
///
/// # Errors
/// Names the file that could not be written.
pub fn write_flows(dir: &Path, scenario: &Scenario, wanted: &TurnTaking, seed: u64) -> Result<(), String> {
    let flow = Script::new(seed).flow(FLOW, wanted.endpoint_ms);
    let line = format!("numbers: [\"{}\"]\ndefault: true\nflow: {FLOW}\n", scenario.called);
    for (folder, text) in [("flows", flow), ("lines", line)] {
        let file = dir.join(folder).join("turn_taking.yaml");
        let written = std::fs::create_dir_all(dir.join(folder)).and_then(|()| std::fs::write(&file, text));
        written.map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

/// The words that the bot's reader has recorded.
pub fn lexicon(voices: &Path) -> Lexicon {
    Lexicon::load(&voices.join(BOT))
}

/// What a trial takes with the lead that is repeated until the bot has spoken for a while.
const TRIAL_S: u32 = 8;
const FLOW: &str = "turn_taking";
/// The directory of the bot's reader among the voices.
const BOT: &str = "en_US_f_Allison";
