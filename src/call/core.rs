//! The call itself, pure: inputs and the time in, outputs out. It decides everything and waits for nothing.
//!
//! `handle` whatever happened, drain `poll_output`, come back at `poll_timeout`; `tap` and `pull` are the 20 ms path
//! and allocate nothing unless something is decided. The actor beside it only carries inputs and outputs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::Frame;
use offhook_media::dtmf::Digit;
use offhook_media::playout::SentenceId;
use offhook_media::speech::{SpeechConfig, SpeechDetector, SpeechEdge};
use offhook_media::vad::Vad;

use super::exchange::{Ears, Exchange, append};
use super::latency::ms;
pub use super::messages::{CallInput, CallOutput};
use super::mouth::{Cut, Mouth};
use super::timers::{Timer, Timers};
use super::words::Words;
use super::{Moment, TurnId};
use crate::dialog::runner::Dialog;
use crate::dialog::{BargeIn, DialogInput, DialogOutput, Listening};
use crate::providers::{ProviderError, SttEvent};
use crate::store::record::{CallEvent, EndReason};
use crate::telemetry::pii::Pii;
use crate::turn::floor::{Decision, Floor, Holder};
use crate::turn::{Interrupt, Rules, TurnConfig};

/// What a call needs to be told at its beginning.
pub struct CallSetup {
    pub dialog: Dialog,
    pub vad: Box<dyn Vad>,
    pub speech: SpeechConfig,
    pub turn: TurnConfig,
    /// Longest call.
    pub longest: Duration,
    /// Without any audio from the caller for this long the call ends.
    pub no_media: Duration,
    /// Whether a recogniser listens.
    pub has_ears: bool,
}

/// See the module's header.
pub struct Call {
    phase: Phase,
    dialog: Dialog,
    floor: Floor,
    speech: SpeechDetector,
    mouth: Mouth,
    words: Words,
    timers: Timers,
    outputs: VecDeque<CallOutput>,
    turn: TurnId,
    exchange: Exchange,
    ears: Ears,
    /// An interrupted exchange, and the onset of the speech that interrupted it: closed by the frame that fades out.
    cut_off: Option<(Exchange, Moment)>,
    /// What was heard of speech that the dialog itself dropped, until the next report.
    unreported: String,
    /// A model's answer is being made.
    answering: bool,
    /// How the call ends once all is spoken.
    ending: Option<EndReason>,
    /// What the leg had in flight at the last tick.
    unheard: Duration,
    connected_at: Moment,
    voice_failures: u32,
    counts: Counts,
    final_words: Duration,
    no_media: Duration,
    longest: Duration,
    has_ears: bool,
}

/// Figures of a call so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub turns: u32,
    pub barge_ins: u32,
}

impl Call {
    pub fn new(setup: CallSetup) -> Self {
        let longest_turn = Duration::from_millis(setup.turn.longest_turn_ms);
        Self {
            phase: Phase::Connecting,
            dialog: setup.dialog,
            floor: Floor::new(FIRST_RULES, longest_turn),
            speech: SpeechDetector::new(setup.vad, setup.speech),
            mouth: Mouth::new(),
            words: Words::default(),
            timers: Timers::default(),
            outputs: VecDeque::with_capacity(16),
            turn: TurnId::default(),
            exchange: Exchange::default(),
            ears: Ears::default(),
            cut_off: None,
            unreported: String::new(),
            answering: false,
            ending: None,
            unheard: Duration::ZERO,
            connected_at: Moment::ZERO,
            voice_failures: 0,
            counts: Counts::default(),
            final_words: Duration::from_millis(setup.turn.final_words_ms),
            no_media: setup.no_media,
            longest: setup.longest,
            has_ears: setup.has_ears,
        }
    }

    /// Something other than audio happened.
    pub fn handle(&mut self, input: CallInput, now: Moment) {
        match input {
            CallInput::HungUp(reason) => return self.end(reason, now),
            CallInput::Connected => return self.connected(now),
            _ if self.phase != Phase::Talking => return,
            CallInput::Digit(digit) => self.digit(digit, now),
            CallInput::Recording(order) => self.outputs.push_back(CallOutput::Recording(order)),
            CallInput::Heard(event) => self.heard(event, now),
            CallInput::Speech { turn, .. }
            | CallInput::SpeechEnded { turn, .. }
            | CallInput::SpeechFailed { turn, .. }
            | CallInput::AnswerBegan { turn }
            | CallInput::Answer { turn, .. }
            | CallInput::AnswerEnded { turn }
            | CallInput::AnswerFailed { turn, .. }
                if turn != self.turn => {}
            CallInput::Speech { sentence, samples, .. } => self.speech_made(sentence, samples, now),
            CallInput::SpeechEnded { sentence, .. } => {
                self.mouth.audio_ended(sentence);
            }
            CallInput::SpeechFailed { sentence, error, .. } => self.voice_failed(sentence, &error, now),
            CallInput::AnswerBegan { .. } => self.exchange.clock.model_began(now),
            CallInput::Answer { sentence, .. } => self.answer(DialogInput::AnswerSentence(sentence), now),
            CallInput::AnswerEnded { .. } => self.answer(DialogInput::AnswerEnded, now),
            CallInput::AnswerFailed { error, .. } => {
                self.exchange.failed(&error);
                self.answer(DialogInput::AnswerFailed, now);
            }
        }
        self.settle(now);
    }

    /// 20 ms from the caller as they arrived: speech detection.
    pub fn tap(&mut self, frame: &Frame, arrival: Moment, now: Moment) {
        self.timers.set(Timer::NoMedia, Some(now + self.no_media));
        match self.phase {
            Phase::Talking => {}
            Phase::Connected => return self.begin(now),
            Phase::Connecting | Phase::Over => return,
        }
        if let Some(edge) = self.speech.push(frame, arrival).edge {
            self.speech_edge(edge, now);
            self.settle(now);
        }
    }

    /// The 20 ms to send now; `false` when there is nothing to say. `unheard` is what the leg has in flight.
    pub fn pull(&mut self, frame: &mut Frame, unheard: Duration, now: Moment) -> bool {
        self.unheard = unheard;
        let pull = self.mouth.pull(frame);
        if let Some((mut exchange, onset)) = self.cut_off.take() {
            exchange.clock.barged_in(onset, now + FADE);
            self.write(exchange);
        }
        // The fade of what was cut off is no answer.
        if pull.audible && self.mouth.has_begun() {
            self.exchange.clock.first_packet(now);
        }
        if pull.played_out {
            self.settle(now);
        }
        let to_tell = !self.answering || self.mouth.has_spoken();
        let heard_out = pull.finished && to_tell && self.floor.holder() == Holder::Bot;
        if heard_out && !self.timers.is_set(Timer::HeardOut) {
            self.timers.set(Timer::HeardOut, Some(now + unheard));
        }
        pull.audible
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
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Greeting => return self.begin(now),
                Timer::Floor => {
                    let decision = self.floor.timeout(now);
                    self.decided(decision, now);
                }
                Timer::FinalWords => self.turn_ended(now),
                Timer::Dialog => self.dialog.handle(DialogInput::Timeout, now),
                Timer::Voice => self.voice_silent(now),
                Timer::HeardOut => self.heard_out(now),
                Timer::HangUp => return self.end(self.ending.clone().unwrap_or(EndReason::FlowHungUp), now),
                Timer::NoMedia => return self.end(EndReason::MediaTimeout, now),
                Timer::TooLong => return self.end(EndReason::TooLong, now),
            }
            self.settle(now);
        }
    }

    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Who has the floor.
    pub const fn floor(&self) -> Holder {
        self.floor.holder()
    }

    fn connected(&mut self, now: Moment) {
        if self.phase != Phase::Connecting {
            return;
        }
        self.phase = Phase::Connected;
        self.connected_at = now;
        self.timers.set(Timer::Greeting, Some(now + GREETING_WAIT));
        self.timers.set(Timer::NoMedia, Some(now + self.no_media));
        self.timers.set(Timer::TooLong, Some(now + self.longest));
    }

    /// The greeting waits for the first audio of the caller's side, so that its first words are not lost while the
    /// far side still sets its path up, but not for long.
    fn begin(&mut self, now: Moment) {
        self.timers.set(Timer::Greeting, None);
        self.phase = Phase::Talking;
        self.event("answered", None, now);
        self.dialog.handle(DialogInput::Started, now);
        self.settle(now);
    }

    fn speech_edge(&mut self, edge: SpeechEdge, now: Moment) {
        let was_free = self.floor.holder() == Holder::Nobody;
        if matches!(edge, SpeechEdge::Onset { .. }) {
            // The caller goes on: their turn has not ended after all.
            self.timers.set(Timer::FinalWords, None);
        }
        let decision = self.floor.speech(edge, now);
        self.decided(decision, now);
        if was_free && self.floor.holder() == Holder::Caller {
            self.dialog.handle(DialogInput::CallerSpeaking, now);
        }
    }

    fn digit(&mut self, digit: Digit, now: Moment) {
        if let Some(Decision::StopBot { .. }) = self.floor.key(now) {
            self.interrupt(None, now);
        }
        self.timers.set(Timer::FinalWords, None);
        self.words.drop_for_key(now);
        self.exchange.key(digit, now);
        self.event("digit", None, now);
        self.dialog.handle(DialogInput::Digit(digit), now);
    }

    fn heard(&mut self, event: SttEvent, now: Moment) {
        match event {
            SttEvent::Interim(words) => {
                self.words.interim(&words, now);
                self.some_words(now);
            }
            SttEvent::Final(words) => {
                self.words.settle(&words, now);
                self.some_words(now);
                let turn_over = self.timers.is_set(Timer::FinalWords) || self.floor.holder() == Holder::Nobody;
                if turn_over && self.words.settled() {
                    self.turn_ended(now);
                }
            }
            SttEvent::TurnEnded => {}
            SttEvent::Reconnecting => self.event("stt_reconnecting", None, now),
            SttEvent::Failed(error) => {
                self.has_ears = false;
                self.exchange.failed(&error);
                self.event("stt_failed", None, now);
            }
        }
    }

    fn some_words(&mut self, now: Moment) {
        let Some(words) = self.words.so_far() else { return };
        let decision = self.floor.words(now, now);
        self.decided(decision, now);
        if self.floor.holder() == Holder::Caller {
            self.dialog.handle(DialogInput::Partial(words), now);
        }
    }

    fn decided(&mut self, decision: Option<Decision>, now: Moment) {
        match decision {
            None => {}
            Some(Decision::StopBot { onset }) => self.interrupt(Some(onset), now),
            Some(Decision::TurnEnded { speech_ended }) => {
                self.exchange.clock.caller_ended(speech_ended);
                if self.has_ears && !self.words.settled() {
                    self.timers.set(Timer::FinalWords, Some(now + self.final_words));
                } else {
                    self.turn_ended(now);
                }
            }
        }
    }

    /// The caller broke in, by speech that began at `onset` or by a key.
    fn interrupt(&mut self, onset: Option<Moment>, now: Moment) {
        let was_audible = self.mouth.has_begun();
        let cut = self.drop_speech();
        let exchange = self.close_exchange(&cut);
        match onset.filter(|_| was_audible) {
            Some(onset) => {
                self.counts.barge_ins += 1;
                self.event("barge_in", None, now);
                self.cut_off = Some((exchange, onset));
            }
            None => self.write(exchange),
        }
        let heard = self.report(&cut.heard);
        self.dialog.handle(DialogInput::Interrupted { heard, unheard: cut.unheard }, now);
    }

    /// Silences the bot and drops whatever is being made for it.
    fn drop_speech(&mut self) -> Cut {
        self.timers.set(Timer::HeardOut, None);
        self.outputs.push_back(CallOutput::Clear);
        self.outputs.push_back(CallOutput::Abandon(self.turn));
        self.turn = self.turn.next();
        self.answering = false;
        self.floor.bot_ends();
        self.mouth.stop(self.unheard)
    }

    fn turn_ended(&mut self, now: Moment) {
        self.timers.set(Timer::FinalWords, None);
        if let Some(at) = self.words.final_at() {
            self.exchange.clock.words_final(at);
        }
        let words = self.words.take(now);
        self.counts.turns += 1;
        self.exchange.words(words.clone());
        self.dialog.handle(DialogInput::TurnEnded(words), now);
    }

    fn speech_made(&mut self, sentence: SentenceId, samples: Arc<[i16]>, now: Moment) {
        if self.mouth.making() != Some(sentence) {
            return;
        }
        self.exchange.clock.voice_began(now);
        self.voice_failures = 0;
        if !self.mouth.audio(sentence, samples) {
            self.event("playout_full", None, now);
        }
        self.await_voice(now);
    }

    /// A voice may be silent for as long as there is something else to hear, and a little longer.
    fn await_voice(&mut self, now: Moment) {
        self.timers.set(Timer::Voice, Some(now + self.mouth.queued() + self.voice_patience()));
    }

    fn voice_silent(&mut self, now: Moment) {
        let Some(sentence) = self.mouth.making() else { return };
        self.outputs.push_back(CallOutput::GiveUp { turn: self.turn, sentence });
        let error = ProviderError::Timeout { vendor: "voice", what: "audio", after: self.voice_patience() };
        self.voice_failed(sentence, &error, now);
    }

    /// Less for a voice that has just failed.
    fn voice_patience(&self) -> Duration {
        if self.voice_failures == 0 { VOICE_PATIENCE } else { VOICE_PATIENCE / 2 }
    }

    fn voice_failed(&mut self, sentence: SentenceId, error: &ProviderError, now: Moment) {
        if self.mouth.making() != Some(sentence) {
            return;
        }
        self.exchange.failed(error);
        self.event("voice_failed", None, now);
        self.voice_failures += 1;
        if self.voice_failures >= HOPELESS_VOICES {
            self.ending = Some(EndReason::NoVoice);
        }
        if let Some(text) = self.mouth.failed(sentence) {
            self.dialog.handle(DialogInput::SpeechFailed { text, in_a_row: self.voice_failures }, now);
        }
    }

    fn answer(&mut self, input: DialogInput, now: Moment) {
        match input {
            DialogInput::AnswerSentence(_) => self.exchange.clock.model_began(now),
            _ => self.answering = false,
        }
        self.dialog.handle(input, now);
    }

    fn heard_out(&mut self, now: Moment) {
        let cut = self.mouth.heard_out();
        if self.answering {
            // More of the answer may come: the bot keeps the floor.
            self.exchange.heard(&cut.heard, &cut.unheard);
        } else {
            self.floor.bot_ends();
            let exchange = self.close_exchange(&cut);
            self.write(exchange);
        }
        let heard = self.report(&cut.heard);
        self.dialog.handle(DialogInput::SpokenOut { heard }, now);
    }

    /// Does what the dialog asks until it asks nothing more.
    fn settle(&mut self, now: Moment) {
        while let Some(output) = self.dialog.poll() {
            self.obey(output, now);
        }
        while let Some(wanted) = self.mouth.next_wanted() {
            self.exchange.clock.voice_asked(now);
            let language = self.ears.language.clone();
            self.outputs.push_back(CallOutput::Speak { turn: self.turn, wanted, language });
            self.await_voice(now);
        }
        if self.mouth.making().is_none() {
            self.timers.set(Timer::Voice, None);
        }
        if !self.mouth.is_idle() {
            self.timers.set(Timer::HeardOut, None);
        }
        if self.answering || !self.mouth.is_idle() {
            self.floor.bot_starts();
        } else if self.ending.is_some() && self.floor.holder() != Holder::Bot && !self.timers.is_set(Timer::HangUp) {
            self.timers.set(Timer::HangUp, Some(now + LAST_WORDS_TAIL));
        }
        self.timers.set(Timer::Floor, self.floor.deadline());
    }

    fn obey(&mut self, output: DialogOutput, now: Moment) {
        match output {
            DialogOutput::Listen(listening) => self.listen(&listening, now),
            DialogOutput::Say(utterance) => {
                if !self.mouth.say(utterance) {
                    self.event("too_much_to_say", None, now);
                }
            }
            DialogOutput::Reply(request) => {
                self.answering = true;
                self.exchange.clock.model_asked(now);
                let language = self.ears.language.clone();
                self.outputs.push_back(CallOutput::Reply { turn: self.turn, request, language });
            }
            DialogOutput::Abandon => {
                let cut = self.drop_speech();
                self.unreported = self.report(&cut.heard);
                let exchange = self.close_exchange(&cut);
                self.write(exchange);
            }
            DialogOutput::WakeAt(at) => self.timers.set(Timer::Dialog, at),
            DialogOutput::Event { kind, detail } => self.event(kind, detail, now),
            DialogOutput::Recording(order) => self.outputs.push_back(CallOutput::Recording(order)),
            DialogOutput::Transfer { target } => {
                self.event("transfer", Some(Pii::new(serde_json::json!({ "target": &*target }))), now);
                self.ending.get_or_insert(EndReason::Transferred);
            }
            DialogOutput::HangUp => {
                self.ending.get_or_insert(EndReason::FlowHungUp);
            }
        }
    }

    fn listen(&mut self, listening: &Listening, now: Moment) {
        self.floor.set_rules(Rules { interrupt: listening.barge_in.into(), endpoint: listening.endpoint });
        if self.ears.enter(listening) && self.has_ears {
            let (language, hints) = (listening.language.clone(), Arc::clone(&listening.hints));
            self.outputs.push_back(CallOutput::Listen { language, hints });
        }
        self.event("step", Some(Pii::new(serde_json::json!({ "step": &*listening.step }))), now);
    }

    fn end(&mut self, reason: EndReason, now: Moment) {
        if self.phase == Phase::Over {
            return;
        }
        let cut = self.drop_speech();
        if let Some((exchange, _)) = self.cut_off.take() {
            self.write(exchange);
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

    /// Keeps something in the record that happened around the call.
    pub fn event(&mut self, kind: &'static str, detail: Option<Pii<serde_json::Value>>, now: Moment) {
        let at_ms = ms(now.saturating_sub(self.connected_at));
        self.outputs.push_back(CallOutput::Event(CallEvent { kind, at_ms, detail }));
    }
}

impl From<BargeIn> for Interrupt {
    fn from(barge_in: BargeIn) -> Self {
        match barge_in {
            BargeIn::Speech => Self::Speech,
            BargeIn::Words => Self::Words,
            BargeIn::Digits => Self::Digits,
            BargeIn::Off => Self::Never,
        }
    }
}

/// How long the greeting waits for the first audio of the caller's side.
const GREETING_WAIT: Duration = Duration::from_millis(250);

/// The fade of a stopped playout: what is audible in its last frame.
const FADE: Duration = Duration::from_millis(10);

/// Between the last sample heard and the hang-up: far-side buffers are estimates.
const LAST_WORDS_TAIL: Duration = Duration::from_millis(300);

/// How long the caller waits in silence for a voice's next audio; with the next sentence's own first audio it stays
/// below the 4 s after which callers believe that the line is dead.
const VOICE_PATIENCE: Duration = Duration::from_secs(3);

/// Sentences in a row that no voice could make before the call is given up.
const HOPELESS_VOICES: u32 = 3;

/// Until the dialog enters its first step.
const FIRST_RULES: Rules = Rules { interrupt: Interrupt::Never, endpoint: Duration::from_millis(600) };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Signalling goes on. Left by [`CallInput::Connected`] or a hang-up; the transport's timers see to one of them.
    Connecting,
    /// Waiting for the caller's first audio. Left by it, or by [`Timer::Greeting`].
    Connected,
    /// Left by a hang-up of either side, [`Timer::NoMedia`] or [`Timer::TooLong`].
    Talking,
    Over,
}
