//! What each trial of a call came to. Pure: taken from the audio on the wire; the server's own record is only asked how it
//! called what is seen there, and what it believes that the caller has heard.

use super::Bout;
use super::runs::{BotSide, Hold, Text};
use super::script::bare;
use crate::sim::clock::{Moment, ms_between};
use crate::sim::records::ServerInterruption;
use crate::sim::timeline::{MarkKind, Timeline};

/// One trial, measured.
#[derive(Clone, Debug)]
pub struct Judged {
    pub call: usize,
    /// Its number within the call.
    pub number: usize,
    pub bout: Bout,
    pub result: BargeIn,
    /// Holds for which there was no reason.
    pub false_holds: Vec<FalseHold>,
    /// For how long the bot spoke while nobody spoke to it, ms.
    pub bot_ms: f64,
    /// From the end of the caller's speech to the bot's next sound, ms.
    pub response_ms: Option<f64>,
    /// The bot went on while the caller was speaking, ms after the onset.
    pub back_ms: Option<f64>,
    /// Words by which the server's record of what was heard is wrong.
    pub heard_error: Option<usize>,
    /// What the server noted in this time.
    pub noted: Vec<ServerInterruption>,
}

/// What became of an onset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BargeIn {
    /// Nobody spoke.
    None,
    /// From the onset to the end of the last audible packet, ms; over Twilio to the arrival of `clear`. `heard_ms` counts to
    /// the end of what the far side played.
    Stopped { ms: f64, heard_ms: f64 },
    /// The bot was heard for more than a second after the onset.
    Missed,
    /// The bot had been held within the 300 ms before the onset: nothing can be measured.
    Early,
    /// The bot was not speaking.
    BotSilent,
}

/// A hold without a reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FalseHold {
    pub hold: Hold,
    /// How often it counts: once more for every two seconds that it lasts.
    pub count: u32,
    /// The floor was given up for it.
    pub committed: bool,
    /// Words lost and repeated, where the bot went on.
    pub words: Option<(usize, usize)>,
}

impl BargeIn {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "quiet",
            Self::Stopped { .. } => "stopped",
            Self::Missed => "missed",
            Self::Early => "early",
            Self::BotSilent => "bot silent",
        }
    }
}

/// A call as it is judged.
pub struct Evidence<'a> {
    pub call: usize,
    pub timeline: &'a Timeline,
    pub text: Option<&'a Text>,
    pub noted: &'a [ServerInterruption],
}

/// Judges every trial of a call.
pub fn judge(evidence: &Evidence<'_>) -> (BotSide, Vec<Judged>) {
    let timeline = evidence.timeline;
    let track = if timeline.delivered.end().is_zero() { &timeline.heard } else { &timeline.delivered };
    let hung_up = timeline.marks.iter().find(|mark| mark.kind == MarkKind::HungUp).map_or(timeline.over, |m| m.at);
    let side = BotSide::new(track, evidence.text, hung_up);
    let judged = timeline.bouts.iter().enumerate().map(|(number, bout)| one(evidence, &side, number, bout)).collect();
    (side, judged)
}

fn one(evidence: &Evidence<'_>, side: &BotSide, number: usize, bout: &Bout) -> Judged {
    let answered = evidence.timeline.answered.unwrap_or_default();
    let is_here = |at: Moment| bout.from <= at && at < bout.to;
    let noted: Vec<ServerInterruption> =
        evidence.noted.iter().filter(|noted| is_here(noted.held(answered))).cloned().collect();
    let result = bout.speech.map_or(BargeIn::None, |(onset, _)| barge_in(evidence.timeline, side, onset));
    let false_holds =
        side.holds.iter().filter(|hold| is_here(hold.from) && !has_reason(&evidence.timeline.bouts, hold));
    let false_holds = false_holds.map(|hold| false_hold(evidence, bout, hold, answered)).collect();
    let stop = match result {
        BargeIn::Stopped { heard_ms, .. } => bout.speech.map(|(onset, _)| (onset, heard_ms)),
        _ => None,
    };
    let stopped =
        stop.and_then(|(onset, ms)| side.holds.iter().find(|hold| (ms_between(hold.from, onset) - ms).abs() < 1.0));
    Judged {
        call: evidence.call,
        number,
        bout: bout.clone(),
        result,
        false_holds,
        bot_ms: unprovoked_ms(side, bout),
        response_ms: stopped.and_then(|hold| response(bout, hold)),
        back_ms: stopped.and_then(|hold| back(bout, hold)),
        heard_error: stopped.and_then(|hold| heard_error(evidence, hold, answered)),
        noted,
    }
}

fn barge_in(timeline: &Timeline, side: &BotSide, onset: Moment) -> BargeIn {
    let Some((_, until)) = side.speaking_at(onset) else {
        let just_held = |hold: &Hold| hold.from <= onset && ms_between(onset, hold.from) < EARLY_MS;
        return if side.holds.iter().any(just_held) { BargeIn::Early } else { BargeIn::BotSilent };
    };
    if side.pauses.iter().any(|(from, to)| *from <= onset && onset < *to) {
        return BargeIn::BotSilent;
    }
    let heard_ms = ms_between(until, onset);
    let is_held = side.holds.iter().any(|hold| hold.from == until);
    if heard_ms > MISSED_MS || !is_held {
        return BargeIn::Missed;
    }
    let cleared = timeline.marks.iter().find(|mark| mark.kind == MarkKind::Cleared && mark.at >= onset);
    let cleared_ms = cleared.map(|mark| ms_between(mark.at, onset)).filter(|ms| *ms <= MISSED_MS);
    BargeIn::Stopped { ms: cleared_ms.unwrap_or(heard_ms), heard_ms }
}

/// Whether somebody was speaking, or about to, when the bot was held.
fn has_reason(bouts: &[Bout], hold: &Hold) -> bool {
    bouts.iter().flat_map(reasons).any(|reason| reason.contains(&hold.from))
}

/// The times in which a hold has a reason: around the speech, and while the caller makes themselves known.
fn reasons(bout: &Bout) -> impl Iterator<Item = std::ops::Range<Moment>> {
    let speech = bout.speech.map(|(onset, end)| reason(onset, end));
    let intro = bout.introduced.map(|introduced| bout.from..introduced + ms(AFTER_MS));
    speech.into_iter().chain(intro)
}

/// The time in which a hold has a reason: from 300 ms before the speech to a second after it.
fn reason(onset: Moment, end: Moment) -> std::ops::Range<Moment> {
    onset.saturating_sub(ms(EARLY_MS))..end + ms(AFTER_MS)
}

fn false_hold(evidence: &Evidence<'_>, bout: &Bout, hold: &Hold, answered: Moment) -> FalseHold {
    let lasted_ms = ms_between(hold.until.unwrap_or(bout.to).min(bout.to), hold.from).max(0.0);
    let noted = evidence.noted.iter().find(|noted| ms_between(hold.from, noted.held(answered)).abs() < SAME_MS);
    let went_on = hold
        .before
        .zip(hold.after)
        .filter(|(before, after)| after.saturating_sub(*before) < FORWARD && before.saturating_sub(*after) < BACK);
    let committed = noted.map_or(went_on.is_none() || lasted_ms > LONGEST_HOLD_MS, |noted| noted.outcome != "resumed");
    let words = went_on.filter(|_| !committed).zip(evidence.text);
    FalseHold {
        hold: *hold,
        count: 1 + (lasted_ms / AGAIN_MS) as u32,
        committed,
        words: words.map(|((before, after), text)| lost_and_repeated(text, before, after)),
    }
}

/// Words of which neither half was heard, and words that were heard twice.
fn lost_and_repeated(text: &Text, before: usize, after: usize) -> (usize, usize) {
    let (heard, missing) = (text.words_until(before), text.words_until(after));
    (missing.saturating_sub(heard), heard.saturating_sub(missing))
}

fn unprovoked_ms(side: &BotSide, bout: &Bout) -> f64 {
    let all = side.spoke_ms(bout.from, bout.to);
    let provoked = reasons(bout).map(|reason| side.spoke_ms(reason.start.max(bout.from), reason.end.min(bout.to)));
    all - provoked.sum::<f64>()
}

fn response(bout: &Bout, hold: &Hold) -> Option<f64> {
    let (_, end) = bout.speech?;
    hold.until.filter(|until| *until >= end).map(|until| ms_between(until, end))
}

fn back(bout: &Bout, hold: &Hold) -> Option<f64> {
    let (onset, end) = bout.speech?;
    hold.until.filter(|until| *until < end).map(|until| ms_between(until, onset))
}

/// By how many words the last word that the server believes to have been heard is off.
fn heard_error(evidence: &Evidence<'_>, hold: &Hold, answered: Moment) -> Option<usize> {
    let (text, before) = evidence.text.zip(hold.before)?;
    let noted = evidence.noted.iter().find(|noted| ms_between(hold.from, noted.held(answered)).abs() < SAME_MS)?;
    let heard = noted.heard.as_ref()?;
    let said: Vec<String> = heard.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect();
    let truth = text.words_until(before);
    let believed = position(text, &said, truth)?;
    Some(believed.abs_diff(truth))
}

/// How many of the text's words have been said when `said` are its last, near `about`.
fn position(text: &Text, said: &[String], about: usize) -> Option<usize> {
    let words = &text.spoken.words;
    let Some(last) = said.last() else {
        // Nothing heard: the beginning of a sentence.
        let starts = text.spoken.sentences.iter().map(|sentence| text.words_until(sentence.start));
        return starts.min_by_key(|start| start.abs_diff(about));
    };
    let before = said.len().checked_sub(2).and_then(|index| said.get(index));
    let fits = |index: &usize| {
        let is = |index: usize, word: &String| words.get(index).is_some_and(|w| *w.text == **word);
        is(*index, last) && before.is_none_or(|before| *index > 0 && is(*index - 1, before))
    };
    (0..words.len()).filter(fits).map(|index| index + 1).min_by_key(|count| count.abs_diff(about))
}

fn ms(ms: f64) -> std::time::Duration {
    std::time::Duration::from_secs_f64(ms / 1000.0)
}

const EARLY_MS: f64 = 300.0;
const AFTER_MS: f64 = 1000.0;
const MISSED_MS: f64 = 1000.0;
const AGAIN_MS: f64 = 2000.0;
/// A hold of the wire and one of the record are the same when they are this near.
const SAME_MS: f64 = 300.0;
/// A hold is decided within 700 ms, or 250 ms after the last that sounds like speech.
const LONGEST_HOLD_MS: f64 = 1200.0;
/// In samples: a bot that goes on does so within a sentence's length back or half a second on.
const BACK: usize = 48_000;
const FORWARD: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::{FRAME, ulaw};
    use crate::sim::lab::{ONSETS, QUIET};
    use crate::sim::turns::script::{Lexicon, Script};
    use std::time::Duration;

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn text() -> Text {
        Text::new(Script::new(5).spoken(&Lexicon::default()))
    }

    fn bout(speech: Option<(u64, u64)>) -> Bout {
        let condition = if speech.is_some() { &ONSETS[0] } else { &QUIET[0] };
        let speech = speech.map(|(onset, end)| (at(onset), at(end)));
        Bout { condition, noise: "pink", words: None, from: at(0), to: at(6000), introduced: None, speech }
    }

    /// The bot says the text from `from` on, for `frames`, beginning at `at_ms`.
    fn say(timeline: &mut Timeline, text: &Text, from: usize, frames: usize, at_ms: u64) {
        for frame in 0..frames {
            let part = &text.spoken.samples[from + frame * FRAME..from + (frame + 1) * FRAME];
            let octets: Vec<u8> = part.iter().map(|sample| ulaw(*sample)).collect();
            timeline.heard.push(at(at_ms + 20 * frame as u64), &octets);
        }
    }

    fn judged(timeline: &Timeline, text: &Text, noted: &[ServerInterruption]) -> Judged {
        judge(&Evidence { call: 0, timeline, text: Some(text), noted }).1.remove(0)
    }

    fn call(bout: Bout) -> Timeline {
        Timeline { answered: Some(at(0)), over: at(6000), bouts: vec![bout], ..Timeline::default() }
    }

    #[test]
    fn a_stop_is_measured_to_the_end_of_the_last_packet() {
        let text = text();
        let mut timeline = call(bout(Some((1930, 2500))));
        say(&mut timeline, &text, 8000, 100, 0);
        say(&mut timeline, &text, text.spoken.sentences[5].start, 100, 3105);
        timeline.over = at(5105);
        let one = judged(&timeline, &text, &[]);
        let BargeIn::Stopped { ms, heard_ms } = one.result else { panic!("{one:?}") };
        assert!((ms - 70.0).abs() < 0.1 && (heard_ms - 70.0).abs() < 0.1, "{ms} {heard_ms}");
        assert!(one.response_ms.is_some_and(|ms| (ms - 605.0).abs() < 0.1), "{:?}", one.response_ms);
        assert!(one.false_holds.is_empty(), "{:?}", one.false_holds);
        // Between 0 and 1.63 s, and from 3.5 s on.
        assert!((one.bot_ms - 1630.0 - 1605.0).abs() < 30.0, "{}", one.bot_ms);
    }

    #[test]
    fn a_bot_that_speaks_on_is_missed_and_one_that_was_held_before_is_early() {
        let text = text();
        let mut missed = call(bout(Some((1000, 1500))));
        say(&mut missed, &text, 8000, 150, 0);
        assert_eq!(judged(&missed, &text, &[]).result, BargeIn::Missed);
        let mut early = call(bout(Some((1100, 1500))));
        say(&mut early, &text, 8000, 50, 0);
        say(&mut early, &text, 16_000, 100, 2000);
        assert_eq!(judged(&early, &text, &[]).result, BargeIn::Early);
    }

    #[test]
    fn a_false_hold_is_counted_with_the_words_that_it_cost() {
        let text = text();
        let mut timeline = call(bout(None));
        say(&mut timeline, &text, 8000, 100, 0);
        // 300 ms of silence, and on again a second of the text later.
        say(&mut timeline, &text, 8000 + 100 * FRAME + 4000, 100, 2300);
        timeline.over = at(4300);
        let one = judged(&timeline, &text, &[]);
        let [hold] = one.false_holds[..] else { panic!("{one:?}") };
        assert_eq!((hold.count, hold.committed), (1, true), "half a second on is another place");
        let noted = ServerInterruption { held_ms: 1990.0, outcome: "resumed".into(), ..ServerInterruption::default() };
        let one = judged(&timeline, &text, &[noted]);
        assert!(!one.false_holds[0].committed, "the server says that it went on");
    }

    #[test]
    fn who_makes_themselves_known_gives_a_reason() {
        let text = text();
        let holds = |introduced| {
            let mut timeline = call(Bout { introduced, ..bout(None) });
            say(&mut timeline, &text, 8000, 100, 0);
            say(&mut timeline, &text, 8000 + 100 * FRAME, 100, 2300);
            timeline.over = at(4300);
            judged(&timeline, &text, &[]).false_holds.len()
        };
        assert_eq!((holds(None), holds(Some(at(1200))), holds(Some(at(900)))), (1, 0, 1));
    }

    #[test]
    fn what_the_server_believes_to_have_been_heard_is_compared_word_by_word() {
        let text = text();
        let word = &text.spoken.words[12];
        let frames = (word.samples.end - 8000) / FRAME + 1;
        let stop = frames as u64 * 20;
        let mut timeline = call(bout(Some((stop - 100, stop + 400))));
        say(&mut timeline, &text, 8000, frames, 0);
        say(&mut timeline, &text, text.spoken.sentences[6].start, 50, stop + 1500);
        let noted = |words: std::ops::Range<usize>| {
            let heard = text.spoken.words[words].iter().map(|word| word.text.to_string()).collect::<Vec<_>>().join(" ");
            ServerInterruption {
                held_ms: stop as f64,
                outcome: "committed".into(),
                heard: Some(heard),
                ..ServerInterruption::default()
            }
        };
        assert_eq!(judged(&timeline, &text, &[noted(8..13)]).heard_error, Some(0));
        assert_eq!(judged(&timeline, &text, &[noted(8..15)]).heard_error, Some(2));
    }
}
