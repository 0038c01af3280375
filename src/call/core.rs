//! The call itself, pure: inputs and the time in, outputs out. It decides everything and waits for nothing.
//!
//! `handle` whatever happened, drain `poll_output`, come back at `poll_timeout`; `tap` and `pull` are the 20 ms path
//! and allocate nothing unless something is decided. The actor beside it only carries inputs and outputs.
//!
//! What the caller does is in `caller.rs`, how a step listens in `ending.rs`, interruptions in `interruption.rs`, answers that
//! come too early in `cut_in.rs` and `speculate.rs`, beginning and closing in `opening.rs`, hold in `hold.rs`, transfer in
//! `handover.rs`, voices in `voice.rs`, and what is heard when none of them says anything in `quiet.rs`.

mod caller;
mod cut_in;
mod early;
mod ending;
mod handover;
mod hold;
mod interruption;
mod opening;
mod quiet;
mod sent;
mod speculate;
mod voice;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::Frame;

use super::exchange::{Ears, Exchange, append};
use super::hearing::Hearing;
use super::latency::ms;
use super::leg::InFlight;
pub use super::messages::{CallInput, CallOutput};
use super::mouth::{Cut, Mouth};
use super::timers::{Timer, Timers};
use super::transfer::Transfer;
use super::words::Words;
use super::{Moment, TurnId};
use crate::dialog::runner::Dialog;
use crate::dialog::{DialogInput, DialogOutput};
use crate::providers::Language;
use crate::store::record::{CallEvent, EndReason};
use crate::telemetry::pii::Pii;
use crate::turn::backchannel::Lexicon;
use crate::turn::floor::{Floor, Holder};
use crate::turn::vote::TurnVote;
use crate::turn::{Endpoint, Interrupt, Rules, TurnConfig};
use cut_in::TakenTurn;
use early::Early;
use hold::Hold;
use interruption::{CutOff, Held, Unproven};
pub use opening::Opening;
use quiet::Quiet;
use sent::Sent;
use speculate::Speculation;

/// What a call needs to be told at its beginning.
pub struct CallSetup {
    pub dialog: Dialog,
    pub hearing: Hearing,
    pub turn: TurnConfig,
    /// Longest call.
    pub longest: Duration,
    /// Without any audio from the caller for this long the call ends.
    pub no_media: Duration,
    /// A call may be held for this long.
    pub longest_hold: Duration,
    /// Whether a recogniser listens.
    pub has_ears: bool,
    pub opening: Opening,
}

/// See the module's header.
pub struct Call {
    phase: Phase,
    dialog: Dialog,
    floor: Floor,
    hearing: Hearing,
    mouth: Mouth,
    words: Words,
    /// What words mean over the bot's speech, in the step's language.
    lexicon: Lexicon,
    timers: Timers,
    outputs: VecDeque<CallOutput>,
    turn: TurnId,
    exchange: Exchange,
    ears: Ears,
    /// The bot is held because the caller may want the floor.
    held: Option<Held>,
    ducked: bool,
    speculation: Speculation,
    /// The last turn of the caller, while it can be taken back.
    taken: Option<Box<TakenTurn>>,
    /// How many turns in a row were.
    taken_back: u32,
    /// Hears from the voice whether a turn is over.
    vote: Option<Box<dyn TurnVote>>,
    /// An exchange that was cut off: closed by the frame that fades out.
    cut_off: Option<CutOff>,
    /// An interruption by sound alone: words, or none, will show whether it was one.
    unproven: Option<Box<Unproven>>,
    /// What was heard of speech that the dialog itself dropped, until the next report.
    unreported: String,
    /// A model's answer is being made.
    answering: bool,
    /// How the call ends once all is spoken.
    ending: Option<EndReason>,
    /// What the leg had in flight at the last tick.
    in_flight: InFlight,
    sent: Sent,
    connected_at: Moment,
    voice_failures: u32,
    counts: Counts,
    no_media: Duration,
    longest: Duration,
    longest_hold: Duration,
    has_ears: bool,
    opening: Opening,
    rang: bool,
    early_media: bool,
    early: Early,
    trunk: Option<Arc<str>>,
    hold: Hold,
    quiet: Quiet,
    transfer: Option<Transfer>,
    /// The latest time seen; the call's own time stands still while it is held.
    wall: Moment,
}

/// Figures of a call so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub turns: u32,
    pub barge_ins: u32,
    pub holds: u32,
    /// Answers that were thought of before the turn had ended, and those of them that were used.
    pub speculations: u32,
    pub speculations_used: u32,
    /// Answers that were begun while the caller had only paused.
    pub cut_ins: u32,
    /// How the last transfer ended, or `begun`.
    pub transfer: Option<&'static str>,
}

impl Call {
    pub fn new(setup: CallSetup) -> Self {
        let longest_turn = Duration::from_millis(setup.turn.longest_turn_ms);
        let patience = setup.has_ears.then(|| Duration::from_millis(setup.turn.final_words_ms));
        Self {
            phase: Phase::Connecting,
            dialog: setup.dialog,
            floor: Floor::new(FIRST_RULES, patience, longest_turn),
            hearing: setup.hearing,
            lexicon: Lexicon::default(),
            mouth: Mouth::new(),
            words: Words::default(),
            timers: Timers::default(),
            outputs: VecDeque::with_capacity(16),
            turn: TurnId::default(),
            exchange: Exchange::default(),
            ears: Ears::default(),
            held: None,
            ducked: false,
            speculation: Speculation::new(&setup.turn),
            taken: None,
            taken_back: 0,
            vote: None,
            cut_off: None,
            unproven: None,
            unreported: String::new(),
            answering: false,
            ending: None,
            in_flight: InFlight::default(),
            sent: Sent::default(),
            connected_at: Moment::ZERO,
            voice_failures: 0,
            counts: Counts::default(),
            no_media: setup.no_media,
            longest: setup.longest,
            longest_hold: setup.longest_hold,
            has_ears: setup.has_ears,
            opening: setup.opening,
            rang: false,
            early_media: false,
            early: Early::No,
            trunk: None,
            hold: Hold::default(),
            quiet: Quiet::default(),
            transfer: None,
            wall: Moment::ZERO,
        }
    }

    /// A model has a say in when the caller's turn is over.
    #[must_use]
    pub fn with_vote(mut self, vote: Box<dyn TurnVote>) -> Self {
        self.vote = Some(vote);
        self
    }

    /// Something other than audio happened.
    pub fn handle(&mut self, input: CallInput, now: Moment) {
        self.wall = now;
        match input {
            CallInput::HungUp(reason) => self.end(reason, now),
            CallInput::Placed { ring_timeout, trunk } => self.placed(ring_timeout, trunk, now),
            CallInput::Ringing => self.ringing(now),
            CallInput::EarlyMedia => self.early_media(now),
            CallInput::Announce(words) => self.announce(&words, now),
            CallInput::Connected => self.connected(now),
            CallInput::Held(on) => self.held(on, now),
            CallInput::Parked(on) => self.parked(on, now),
            CallInput::Transfer(event) => self.transfer_event(&event, now),
            CallInput::Joined => self.joined(now),
            CallInput::Close(words) => self.close(words, now),
            input if self.phase != Phase::Talking => self.early_voice(input, now),
            input => self.converse(input, self.hold.clock(now)),
        }
    }

    /// What belongs to the conversation, in the call's own time.
    fn converse(&mut self, input: CallInput, now: Moment) {
        let Some(input) = self.of_guess(input, now) else { return };
        match input {
            CallInput::HungUp(_)
            | CallInput::Placed { .. }
            | CallInput::Ringing
            | CallInput::EarlyMedia
            | CallInput::Announce(_)
            | CallInput::Connected
            | CallInput::Held(_)
            | CallInput::Parked(_)
            | CallInput::Transfer(_)
            | CallInput::Joined
            | CallInput::Close(_) => return,
            CallInput::TransferTo(plan) => self.tell(DialogInput::TransferAsked(plan), now),
            // A held telephone's keys are not meant for us.
            CallInput::Digit(_) if self.hold.is_on() => return,
            CallInput::Digit(digit) => self.digit(digit, now),
            CallInput::RecordingFailed => self.tell(DialogInput::RecordingFailed, now),
            CallInput::Recording(order) => self.outputs.push_back(CallOutput::Recording(order)),
            CallInput::Heard(event) => self.heard(event, now),
            CallInput::Speech { turn, .. }
            | CallInput::WordTimes { turn, .. }
            | CallInput::SpeechRejoined { turn, .. }
            | CallInput::SpeechEnded { turn, .. }
            | CallInput::SpeechFailed { turn, .. }
            | CallInput::AnswerBegan { turn }
            | CallInput::Answer { turn, .. }
            | CallInput::AnswerTool { turn, .. }
            | CallInput::AnswerEnded { turn }
            | CallInput::AnswerFailed { turn, .. }
                if turn != self.turn => {}
            CallInput::Speech { sentence, samples, .. } => self.speech_made(sentence, samples, now),
            CallInput::WordTimes { sentence, words, .. } => self.mouth.word_times(sentence, words),
            CallInput::SpeechRejoined { sentence, keep, .. } => self.voice_changed(sentence, keep, now),
            CallInput::SpeechEnded { sentence, .. } => self.speech_ended(sentence, now),
            CallInput::SpeechFailed { sentence, error, .. } => self.voice_failed(sentence, &error, now),
            CallInput::AnswerBegan { .. } => self.exchange.clock.model_began(now),
            CallInput::Answer { sentence, .. } => self.answer(DialogInput::AnswerSentence(sentence), now),
            CallInput::AnswerTool { call, .. } => self.answer(DialogInput::ToolCalled(call), now),
            CallInput::HookDone { id, answer } => self.tell(DialogInput::HookDone { id, answer }, now),
            CallInput::AnswerEnded { .. } => self.answer(DialogInput::AnswerEnded, now),
            CallInput::AnswerFailed { error, .. } => {
                self.exchange.failed(&error);
                self.answer(DialogInput::AnswerFailed, now);
            }
        }
        self.settle(now);
    }

    /// The 20 ms to send now; `false` when there is nothing to say.
    pub fn pull(&mut self, frame: &mut Frame, in_flight: InFlight, now: Moment) -> bool {
        (self.in_flight, self.wall) = (in_flight, now);
        if self.hold.is_on() {
            let audible = self.pull_held(frame);
            self.sent.note(None, audible);
            return audible;
        }
        let pull = self.mouth.pull(frame);
        self.early_pulled(pull, in_flight.unheard, now);
        if pull.audible {
            self.plays(frame, now);
        }
        let audible = self.pull_sign_of_life(frame, now) || pull.audible;
        self.sent.note(Some(pull), audible);
        if audible {
            self.hearing.sent(frame, now + in_flight.ahead);
        }
        if let Some(cut_off) = self.cut_off.take() {
            self.fell_silent(cut_off, now + FADE);
        }
        // The fade of what was cut off is no answer.
        if pull.audible && self.mouth.has_begun() {
            self.exchange.clock.first_packet(now);
            self.answer_began(now);
        }
        if pull.played_out && self.early == Early::No {
            self.settle(now);
        }
        let to_tell = !self.answering || self.mouth.has_spoken();
        let heard_out = pull.finished && to_tell && self.floor.holder() == Holder::Bot;
        if heard_out && !self.timers.is_set(Timer::HeardOut) {
            self.timers.set(Timer::HeardOut, Some(now + in_flight.unheard));
        }
        audible
    }

    /// What the call asks for, in order, until none is left.
    pub fn poll_output(&mut self) -> Option<CallOutput> {
        self.outputs.pop_front()
    }

    /// When [`Call::timeout`] is due, and why.
    pub fn poll_timeout(&self) -> Option<(Moment, Timer)> {
        self.timers.next()
    }

    /// The clock has reached `now`.
    pub fn timeout(&mut self, now: Moment) {
        self.wall = now;
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Answer => self.answer_after_words(now),
                Timer::Greeting => return self.begin(now),
                Timer::Floor => {
                    let decision = self.floor.timeout(now);
                    self.decided(decision, now);
                }
                Timer::Speculation => self.speculate(now),
                Timer::Dialog => self.tell(DialogInput::Timeout, now),
                Timer::Voice => self.voice_silent(now),
                Timer::Quiet => self.quiet_due(now),
                Timer::Gap => self.audio_ceased(now),
                Timer::HeardOut => self.heard_out(now),
                Timer::HangUp => return self.end(self.ending.clone().unwrap_or(EndReason::FlowHungUp), now),
                Timer::NoMedia => return self.end(EndReason::MediaTimeout, now),
                Timer::Ring => return self.end(EndReason::NoAnswer, now),
                Timer::Transfer => self.transfer_due(now),
                Timer::Joined => return self.end(EndReason::Transferred, now),
                Timer::Hold => self.held_too_long(now),
                Timer::TooLong => return self.end(self.ending.clone().unwrap_or(EndReason::TooLong), now),
            }
            if self.phase == Phase::Talking {
                self.settle(self.hold.clock(now));
            }
        }
    }

    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The trunk that carries a call of ours.
    pub const fn trunk(&self) -> Option<&Arc<str>> {
        self.trunk.as_ref()
    }

    /// The language of the current step.
    pub fn language(&self) -> Language {
        self.ears.language.clone()
    }

    /// How long the call was held in all.
    pub fn held_for(&self, now: Moment) -> Duration {
        self.hold.total + now.saturating_sub(self.hold.clock(now))
    }

    /// Who has the floor.
    pub const fn floor(&self) -> Holder {
        self.floor.holder()
    }

    /// The dialog's time leaves out what the call was held.
    fn tell(&mut self, input: DialogInput, now: Moment) {
        let own = self.own_time(now);
        self.dialog.handle(input, own);
    }

    fn own_time(&self, now: Moment) -> Moment {
        self.hold.clock(now).saturating_sub(self.hold.total)
    }

    fn heard_out(&mut self, now: Moment) {
        self.taken_back = 0;
        let whole = self.mouth.was_whole();
        let cut = self.mouth.heard_out();
        self.unduck();
        if self.answering {
            // More of the answer may come: the bot keeps the floor.
            self.exchange.heard(&cut.heard, &cut.unheard);
        } else {
            self.floor.bot_ends();
            let exchange = self.close_exchange(&cut);
            self.write(exchange);
            self.keep_words_said_over_it(now);
        }
        let heard = self.report(&cut.heard);
        self.tell(DialogInput::SpokenOut { heard, whole }, now);
    }

    /// Does what the dialog asks until it asks nothing more.
    fn settle(&mut self, now: Moment) {
        while let Some(output) = self.dialog.poll() {
            self.obey(output, now);
        }
        self.weigh_guess();
        while let Some(wanted) = self.mouth.next_wanted() {
            self.exchange.clock.voice_asked(now);
            let language = self.ears.language.clone();
            self.outputs.push_back(CallOutput::Speak { turn: self.turn, wanted, language });
            self.await_voice(now);
        }
        if self.mouth.making().is_none() {
            self.timers.set(Timer::Voice, None);
        }
        if self.mouth.has_more() {
            self.timers.set(Timer::HeardOut, None);
        }
        if self.answering || self.mouth.has_more() {
            self.floor.bot_starts();
        } else if self.ending.is_some() && self.floor.holder() != Holder::Bot && !self.timers.is_set(Timer::HangUp) {
            self.timers.set(Timer::HangUp, Some(now + LAST_WORDS_TAIL));
        }
        self.timers.set(Timer::Floor, self.floor.deadline());
        self.watch_quiet(now);
    }

    fn obey(&mut self, output: DialogOutput, now: Moment) {
        self.commits_to(&output);
        match output {
            DialogOutput::Listen(listening) => self.listen(&listening, now),
            DialogOutput::Say(utterance) => {
                if !self.mouth.say(utterance) {
                    self.event("too_much_to_say", None, now);
                }
            }
            DialogOutput::Reply(request) => {
                self.answering = true;
                if !self.use_guess(&request, now) {
                    self.exchange.clock.model_asked(now);
                    let language = self.ears.language.clone();
                    self.outputs.push_back(CallOutput::Reply { turn: self.turn, request, language });
                }
            }
            DialogOutput::Abandon => {
                self.leave_doubt(now);
                let cut = self.drop_speech(self.in_flight.ahead);
                self.unreported = self.report(&cut.heard);
                let exchange = self.close_exchange(&cut);
                self.write(exchange);
            }
            DialogOutput::Hook(plan) => self.outputs.push_back(CallOutput::Hook(plan)),
            DialogOutput::WakeAt(at) => self.timers.set(Timer::Dialog, at.map(|at| at + self.hold.total)),
            DialogOutput::Event { kind, detail } => self.event(kind, detail, now),
            DialogOutput::Recording(order) => self.outputs.push_back(CallOutput::Recording(order)),
            DialogOutput::Transfer(plan) => self.begin_transfer(*plan),
            DialogOutput::HangUp => {
                self.ending.get_or_insert(EndReason::FlowHungUp);
            }
        }
    }

    fn end(&mut self, reason: EndReason, now: Moment) {
        if self.phase == Phase::Over {
            return;
        }
        self.leave_transfer(now);
        self.leave_interruptions(now);
        let cut = self.drop_speech(self.in_flight.unheard);
        if let Some(cut_off) = self.cut_off.take() {
            self.fell_silent(cut_off, now);
        }
        let exchange = self.close_exchange(&cut);
        self.write(exchange);
        self.event("ended", Some(Pii::new(serde_json::json!({ "reason": reason.as_str() }))), now);
        self.phase = Phase::Over;
        self.timers = Timers::default();
        self.outputs.push_back(CallOutput::HangUp(reason));
    }

    /// What the dialog has not been told of what was heard.
    fn report(&mut self, heard: &str) -> String {
        let mut all = std::mem::take(&mut self.unreported);
        append(&mut all, heard);
        all
    }

    fn close_exchange(&mut self, cut: &Cut) -> Exchange {
        std::mem::take(&mut self.exchange).close(Arc::clone(&self.ears.step), &cut.heard, &cut.unheard)
    }

    fn write(&mut self, exchange: Exchange) {
        if let Some(record) = exchange.into_record() {
            self.outputs.push_back(CallOutput::Turn(Box::new(record)));
        }
    }

    /// ms since the call was answered.
    fn at_ms(&self, at: Moment) -> f64 {
        let answered = self.phase != Phase::Connecting;
        if answered { ms(at.saturating_sub(self.connected_at)) } else { 0.0 }
    }

    /// Keeps something in the record that happened around the call.
    pub fn event(&mut self, kind: &'static str, detail: Option<Pii<serde_json::Value>>, now: Moment) {
        let at_ms = self.at_ms(now);
        self.outputs.push_back(CallOutput::Event(CallEvent { kind, at_ms, detail }));
    }
}

const FRAME_TIME: Duration = Duration::from_millis(20);

/// The fade of a stopped playout: what is audible in its last frame.
const FADE: Duration = Duration::from_millis(10);

/// Between the last sample heard and the hang-up: far-side buffers are estimates.
const LAST_WORDS_TAIL: Duration = Duration::from_millis(300);

/// Until the dialog enters its first step.
const FIRST_RULES: Rules =
    Rules { interrupt: Interrupt::Never, endpoint: Endpoint::Silence(Duration::from_millis(600)), finish: false };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Signalling goes on. Left by [`CallInput::Connected`], a hang-up or [`Timer::Ring`]; of a call that came in, the
    /// transport's timers see to one of them.
    Connecting,
    /// Waiting for the caller's first audio. Left by it, or by [`Timer::Greeting`].
    Connected,
    /// Waiting for the first word of whom we called. Left by its end, or by [`Timer::Greeting`].
    Hello,
    /// Left by a hang-up of either side, [`Timer::NoMedia`], [`Timer::Hold`] or [`Timer::TooLong`].
    Talking,
    Over,
}
