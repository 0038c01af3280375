//! The script of a call and the loop that plays it: ticks, timers and vendors in the order of their times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use offhook::call::core::{Call, CallInput, CallOutput, CallSetup, Opening};
use offhook::call::hearing::Hearing;
use offhook::call::leg::{Leg, LegEvent};
use offhook::call::transfer::{Order, TransferEvent};
use offhook::call::{Moment, TurnId};
use offhook::config::Consent;
use offhook::dialog::flow::NoAssets;
use offhook::dialog::{Announcement, CallFacts, Catalogue, Dialog, Flow, RecordingPlan};
use offhook::providers::{Recognised, SttEvent};
use offhook::sim::network::Profile;
use offhook::store::record::EndReason;
use offhook::telemetry::pii::Pii;
use offhook::turn::TurnConfig;
use offhook::turn::vote::TurnVote;
use offhook_media::dtmf::Digit;
use offhook_media::playout::SentenceId;
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame};

use super::line::{Line, Sound, TICK};
use super::outcome::{Asked, Outcome, Question};
use super::vendors::{Model, Voice};
use super::{ms, sound};

/// Begins a script; the flow is the clinic's front desk unless another one is named.
pub fn script(name: &'static str) -> Script {
    Script {
        name,
        flow: Arc::clone(Catalogue::built_in().expect("the shipped flows").flow_for("anything")),
        has_ears: true,
        has_model: true,
        connected: Some(Duration::ZERO),
        network: Profile::default(),
        far_buffer: false,
        seed: 1,
        sounds: Vec::new(),
        keys: Vec::new(),
        dead_from: None,
        inputs: Vec::new(),
        voice: Voice::Speaks(ms(150)),
        voices: BTreeMap::new(),
        models: Vec::new(),
        late_vendors: false,
        longest: Duration::from_secs(1800),
        no_media: Duration::from_secs(60),
        longest_hold: Duration::from_secs(300),
        turn: TurnConfig::default(),
        hearing: None,
        vote: None,
        opening: Opening::Inbound,
        recorded: None,
        ring_timeout: None,
        transfer: vec![(ms(20), TransferEvent::Accepted), (ms(2000), TransferEvent::Finished(200))],
        until: Duration::from_secs(30),
    }
}

/// Events with the time between the asking and each.
pub type FarSide = Vec<(Duration, TransferEvent)>;

/// See [`script`]. All times count from the connection.
pub struct Script {
    name: &'static str,
    flow: Arc<Flow>,
    has_ears: bool,
    has_model: bool,
    connected: Option<Moment>,
    network: Profile,
    far_buffer: bool,
    seed: u64,
    sounds: Vec<Sound>,
    keys: Vec<(Moment, Digit)>,
    dead_from: Option<Moment>,
    inputs: Vec<(Moment, CallInput)>,
    voice: Voice,
    voices: BTreeMap<usize, Voice>,
    models: Vec<Model>,
    late_vendors: bool,
    longest: Duration,
    no_media: Duration,
    longest_hold: Duration,
    turn: TurnConfig,
    hearing: Option<Hearing>,
    vote: Option<Box<dyn TurnVote>>,
    opening: Opening,
    recorded: Option<Consent>,
    ring_timeout: Option<Duration>,
    transfer: FarSide,
    until: Moment,
}

impl Script {
    pub fn flow(mut self, yaml: &str) -> Self {
        let flow = Flow::parse("script.yaml", yaml, &NoAssets).unwrap_or_else(|error| panic!("{error}"));
        self.flow = Arc::new(flow);
        self
    }

    /// The flow of a line that comes with the program.
    pub fn line(mut self, called: &str) -> Self {
        self.flow = Arc::clone(Catalogue::built_in().expect("the shipped flows").flow_for(called));
        self
    }

    /// The call is recorded, as far as the dialog knows.
    pub const fn recorded(mut self, consent: Consent) -> Self {
        self.recorded = Some(consent);
        self
    }

    /// No recogniser.
    pub const fn deaf(mut self) -> Self {
        self.has_ears = false;
        self
    }

    pub const fn without_model(mut self) -> Self {
        self.has_model = false;
        self
    }

    /// The signalling never completes.
    pub const fn never_connected(mut self) -> Self {
        self.connected = None;
        self
    }

    /// Such as `loss=5%,jitter=30ms`.
    pub fn network(mut self, profile: &str, seed: u64) -> Self {
        self.network = profile.parse().unwrap_or_else(|error| panic!("{error}"));
        self.seed = seed;
        self
    }

    /// A leg whose far side plays from a buffer of 100 ms that can be emptied.
    pub const fn far_buffer(mut self) -> Self {
        self.far_buffer = true;
        self
    }

    /// A recorded phrase whose speech begins at `at`.
    pub fn caller_says(self, at: Moment, phrase: &str) -> Self {
        let recording = sound::human(phrase);
        let lead = Duration::from_micros(recording.onset as u64 * 125);
        self.caller_makes(at.checked_sub(lead).expect("after the recording's lead"), recording.samples)
    }

    /// Any sound at the telephone.
    pub fn caller_makes(mut self, at: Moment, samples: Arc<[i16]>) -> Self {
        self.sounds.push(Sound { at, samples });
        self
    }

    /// The recogniser reports words that stay; they began half a second before.
    pub fn words(self, at: Moment, text: &str) -> Self {
        self.input(at, CallInput::Heard(SttEvent::Final(recognised(at, text))))
    }

    /// The recogniser reports words that may change.
    pub fn interim(self, at: Moment, text: &str) -> Self {
        self.input(at, CallInput::Heard(SttEvent::Interim(recognised(at, text))))
    }

    pub fn key(mut self, at: Moment, key: char) -> Self {
        self.keys.push((at, Digit::try_from(key).expect("a key")));
        self
    }

    pub fn hangs_up(self, at: Moment) -> Self {
        self.input(at, CallInput::HungUp(EndReason::CallerHungUp))
    }

    /// Anything that a task or a transport may tell the call.
    pub fn input(mut self, at: Moment, input: CallInput) -> Self {
        self.inputs.push((at, input));
        self
    }

    /// The call is not answered before the caller has heard this.
    pub fn announced(mut self, words: &str) -> Self {
        self.connected = None;
        let words = Announcement::spoken(words, &self.flow).expect("words");
        self.input(Duration::ZERO, CallInput::Announce(words))
    }

    /// The telephone sends no more packets.
    pub const fn line_dies(mut self, at: Moment) -> Self {
        self.dead_from = Some(at);
        self
    }

    /// How every sentence is made that has no way of its own.
    pub fn voice(mut self, voice: Voice) -> Self {
        self.voice = voice;
        self
    }

    /// How the sentence with this number (from 0) is made.
    pub fn voice_of(mut self, sentence: usize, voice: Voice) -> Self {
        self.voices.insert(sentence, voice);
        self
    }

    /// How the next question is answered; a question beyond the last is never answered.
    pub fn model(mut self, model: Model) -> Self {
        self.models.push(model);
        self
    }

    /// Vendors that go on after they were told to stop.
    pub const fn late_vendors(mut self) -> Self {
        self.late_vendors = true;
        self
    }

    pub fn vote(mut self, vote: Box<dyn TurnVote>) -> Self {
        self.vote = Some(vote);
        self
    }

    /// Another ear than the neural one.
    pub fn hearing(mut self, hearing: Hearing) -> Self {
        self.hearing = Some(hearing);
        self
    }

    pub fn turn(mut self, turn: TurnConfig) -> Self {
        self.turn = turn;
        self
    }

    pub const fn longest_hold(mut self, longest: Duration) -> Self {
        self.longest_hold = longest;
        self
    }

    /// A call of ours, answered at `answered` if at all.
    pub fn outbound(mut self, wait_for_hello: bool, ring_timeout: Duration, answered: Option<Moment>) -> Self {
        self.opening = Opening::Outbound { wait_for_hello };
        self.ring_timeout = Some(ring_timeout);
        self.connected = answered;
        self
    }

    /// What becomes of each transfer that is asked for, counted from the asking. Unless told, it succeeds after 2 s.
    pub fn far_side(mut self, events: FarSide) -> Self {
        self.transfer = events;
        self
    }

    pub const fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    pub const fn no_media(mut self, no_media: Duration) -> Self {
        self.no_media = no_media;
        self
    }

    /// Plays the script up to `until`, or to the call's end.
    pub fn run(mut self, until: Moment) -> Outcome {
        self.until = until;
        Stage::new(self).play()
    }
}

fn recognised(at: Moment, text: &str) -> Recognised {
    let start = at.saturating_sub(ms(500));
    Recognised { text: Pii::new(text.to_owned()), confidence: 0.9, start, end: at.saturating_sub(ms(100)) }
}

/// Far from zero, so that a time that is taken for a span shows.
const ORIGIN: Moment = Duration::from_secs(1000);

struct Stage {
    call: Call,
    line: Line,
    pending: BTreeMap<(Moment, u64), CallInput>,
    order: u64,
    next_tick: Moment,
    ends: Moment,
    voice: Voice,
    voices: BTreeMap<usize, Voice>,
    models: Vec<Model>,
    late_vendors: bool,
    transfer: FarSide,
    sentences: usize,
    outcome: Outcome,
}

impl Stage {
    fn new(script: Script) -> Self {
        let facts = CallFacts {
            called: "1".into(),
            caller: Pii::new("2".into()),
            has_ears: script.has_ears,
            has_model: script.has_model,
        };
        let mut dialog = Dialog::new(script.flow, facts);
        if let Some(consent) = script.recorded {
            dialog = dialog.recorded(RecordingPlan { consent, announcement: None, failure: None });
        }
        let mut call = Call::new(CallSetup {
            dialog,
            hearing: script.hearing.unwrap_or_else(|| Hearing::neural(Network::shared().expect("the network"))),
            turn: script.turn,
            longest: script.longest,
            no_media: script.no_media,
            longest_hold: script.longest_hold,
            has_ears: script.has_ears,
            opening: script.opening,
        });
        if let Some(vote) = script.vote {
            call = call.with_vote(vote);
        }
        let mut line = Line::new(ORIGIN, script.network, script.seed);
        if script.far_buffer {
            line.keeps_a_lead();
        }
        for Sound { at, samples } in script.sounds {
            line.sound(Sound { at: ORIGIN + at, samples });
        }
        script.keys.into_iter().for_each(|(at, digit)| line.key(ORIGIN + at, digit));
        script.dead_from.into_iter().for_each(|at| line.falls_silent(ORIGIN + at));
        let mut stage = Self {
            call,
            line,
            pending: BTreeMap::new(),
            order: 0,
            next_tick: ORIGIN,
            ends: ORIGIN + script.until,
            voice: script.voice,
            voices: script.voices,
            models: script.models,
            late_vendors: script.late_vendors,
            transfer: script.transfer,
            sentences: 0,
            outcome: Outcome::new(script.name),
        };
        stage.models.reverse();
        let placed = script.ring_timeout.map(|ring_timeout| (ms(0), CallInput::Placed { ring_timeout, trunk: None }));
        let connected = script.connected.map(|at| (at, CallInput::Connected));
        for (at, input) in placed.into_iter().chain(connected).chain(script.inputs) {
            stage.expect(ORIGIN + at, input);
        }
        stage
    }

    fn play(mut self) -> Outcome {
        while !self.call.is_over() {
            let timer = self.call.poll_timeout().map(|(at, _)| at);
            let input = self.pending.keys().next().copied();
            let now = [timer, input.map(|(at, _)| at), Some(self.next_tick)].into_iter().flatten().min();
            let now = now.unwrap_or(self.next_tick);
            if now > self.ends {
                break;
            }
            match input.filter(|(at, _)| *at == now).and_then(|key| self.pending.remove(&key)) {
                Some(input) => self.call.handle(input, now),
                None if timer == Some(now) => self.call.timeout(now),
                None => self.tick(now),
            }
            self.obey(now);
        }
        self.outcome.finish(ORIGIN, self.line, self.call.counts())
    }

    /// As the actor does it.
    fn tick(&mut self, now: Moment) {
        self.next_tick = now + TICK;
        let Self { line, call, .. } = self;
        line.drain(now, &mut |event| match event {
            LegEvent::Tap { frame, arrival } => call.tap(frame, arrival, now),
            LegEvent::Digit(digit) => call.handle(CallInput::Digit(digit), now),
            LegEvent::HungUp(reason) => call.handle(CallInput::HungUp(reason), now),
            LegEvent::NoAudio(_) => {}
            LegEvent::Heard { .. } => {}
        });
        self.call.timeout(now);
        self.obey(now);
        for _ in 0..self.line.wants(now) {
            let mut frame: Frame = [0; FRAME];
            let audible = self.call.pull(&mut frame, self.line.in_flight(now), now);
            self.outcome.hash(&frame);
            self.line.send(audible.then_some(&frame), now);
        }
        self.obey(now);
        self.outcome.floor.push((now, self.call.floor()));
    }

    fn obey(&mut self, now: Moment) {
        while let Some(output) = self.call.poll_output() {
            self.outcome.log.push(format!("{now:?} {output:?}"));
            match output {
                CallOutput::Speak { turn, wanted, .. } => {
                    let voice = self.voices.get(&self.sentences).unwrap_or(&self.voice);
                    let due = voice.make(turn, &wanted, now);
                    self.sentences += 1;
                    self.outcome.asked.push(Asked { at: now, text: wanted.text.as_str().to_owned() });
                    due.into_iter().for_each(|(at, input)| self.expect(at, input));
                }
                CallOutput::GiveUp { turn, sentence } if !self.late_vendors => {
                    self.pending.retain(|_, input| !is_about(input, turn, sentence));
                }
                CallOutput::Listen { .. }
                | CallOutput::GiveUp { .. }
                | CallOutput::Recording(_)
                | CallOutput::Hook(_) => {}
                CallOutput::Reply { turn, request, .. } => {
                    let due = self.models.pop().unwrap_or(Model::stalls()).answer(turn, now);
                    self.outcome.questions.push(Question { at: now, request: *request });
                    due.into_iter().for_each(|(at, input)| self.expect(at, input));
                }
                CallOutput::Abandon(turn) => self.abandon(turn),
                CallOutput::Transfer { order, .. } => {
                    self.outcome.orders.push((now, order.clone()));
                    if matches!(order, Order::Refer | Order::Call) {
                        let due = self.transfer.clone();
                        due.into_iter().for_each(|(after, event)| self.expect(now + after, CallInput::Transfer(event)));
                    }
                }
                CallOutput::Clear => {
                    let dropped = self.line.clear(now);
                    self.call.cleared(dropped, now);
                }
                CallOutput::Answer => self.expect(now + TICK, CallInput::Connected),
                CallOutput::Hold(on) => self.outcome.holds.push((now, on)),
                CallOutput::Turn(turn) => self.outcome.turns.push((now, *turn)),
                CallOutput::Interruption(told) => self.outcome.interruptions.push(*told),
                CallOutput::Event(event) => self.outcome.events.push((now, event)),
                CallOutput::HangUp(reason) => {
                    self.line.hang_up(&reason);
                    self.outcome.end = Some((now, reason));
                }
            }
        }
    }

    fn abandon(&mut self, stale: TurnId) {
        if !self.late_vendors {
            self.pending.retain(|_, input| turn_of(input).is_none_or(|turn| turn > stale));
        }
    }

    fn expect(&mut self, at: Moment, input: CallInput) {
        self.order += 1;
        self.pending.insert((at, self.order), input);
    }
}

/// Whether a voice sends this for a sentence.
fn is_about(input: &CallInput, turn: TurnId, sentence: SentenceId) -> bool {
    match input {
        CallInput::Speech { turn: of, sentence: s, .. }
        | CallInput::SpeechRejoined { turn: of, sentence: s, .. }
        | CallInput::SpeechEnded { turn: of, sentence: s }
        | CallInput::SpeechFailed { turn: of, sentence: s, .. } => (*of, *s) == (turn, sentence),
        _ => false,
    }
}

/// The turn that a vendor's input belongs to.
fn turn_of(input: &CallInput) -> Option<TurnId> {
    match input {
        CallInput::Speech { turn, .. }
        | CallInput::SpeechRejoined { turn, .. }
        | CallInput::SpeechEnded { turn, .. }
        | CallInput::SpeechFailed { turn, .. }
        | CallInput::AnswerBegan { turn }
        | CallInput::Answer { turn, .. }
        | CallInput::AnswerEnded { turn }
        | CallInput::AnswerFailed { turn, .. } => Some(*turn),
        _ => None,
    }
}
