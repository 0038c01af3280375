//! A conversation by chance: a caller, a line, vendors and their failures, all drawn from one seed, around the real core.
//! Virtual time; audio that says what it is; no codec and no network in between, only what they do to a call.

pub mod words;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use offhook::call::core::{Call, CallInput, CallOutput, CallSetup, Opening};
use offhook::call::hearing::Hearing;
use offhook::call::leg::InFlight;
use offhook::call::transfer::{Order, TransferEvent};
use offhook::call::{Moment, TurnId};
use offhook::dialog::flow::NoAssets;
use offhook::dialog::{CallFacts, Dialog, Flow};
use offhook::providers::{ProviderError, Recognised, Role, SttEvent};
use offhook::safety::said::clear;
use offhook::sim::clock::Dice;
use offhook::store::record::{EndReason, Interruption};
use offhook::telemetry::pii::Pii;
use offhook::turn::TurnConfig;
use offhook::turn::floor::Holder;
use offhook_media::dtmf::Digit;
use offhook_media::playout::SentenceId;
use offhook_media::silero::Network;
use offhook_media::speech::{SpeechConfig, SpeechDetector};
use offhook_media::vad::Vad;
use offhook_media::{FRAME, Frame};
use words::Ledger;

/// What came of a conversation.
pub struct Came {
    pub end: Option<EndReason>,
    pub ledger: Ledger,
    /// What the records say was heard, in order.
    pub recorded: Vec<String>,
    /// What each question told the model of what had been said, and how many words had been made by then.
    pub told: Vec<String>,
    pub interruptions: Vec<Interruption>,
    /// The longest time in which nobody gave a sign although it was the bot's turn, and since when.
    pub silence: (Duration, Moment),
    /// The same while the bot waited for the caller.
    pub wait: (Duration, Moment),
    pub lasted: Duration,
    pub log: VecDeque<String>,
}

/// Holds a conversation by this seed.
pub fn hold(seed: u64, flows: &[Arc<Flow>]) -> Came {
    World::new(seed, flows).run()
}

/// The flows between which a conversation chooses.
pub fn flows() -> Vec<Arc<Flow>> {
    let mut all = Vec::new();
    for barge_in in ["speech", "words", "digits", "\"off\""] {
        let yaml = FLOW.replace("BARGE_IN", barge_in);
        let flow = Flow::parse("conversation.yaml", &yaml, &NoAssets).unwrap_or_else(|error| panic!("{error}"));
        all.push(Arc::new(flow));
    }
    all
}

const FLOW: &str = "
name: conversation
defaults: {no_input_ms: 2500, max_tries: 2, barge_in: BARGE_IN}
steps:
  hello: {say: 'Good morning, this is the exchange of the northern district.', goto: pick}
  pick:
    menu:
      prompt: 'For lamps say one, for chairs say two, or ask me anything.'
      choices:
        - {key: 1, words: [one], goto: notice}
        - {key: 2, words: [two], goto: number}
        - {key: 3, goto: talk}
      give_up: talk
  notice:
    say: 'What follows cannot be cut short, please bear with us until it has ended.'
    barge_in: \"off\"
    goto: talk
  number:
    collect: {prompt: 'What is the number on the label?', into: n, min: 2, max: 6, give_up: talk}
    goto: talk
  talk:
    ask:
      prompt: 'How can I help you today?'
      system_text: Be brief.
      keys: {\"0\": bye, \"9\": pick}
      unheard: 'Press zero to leave.'
      without_model: 'Press zero to leave, nobody can answer now.'
      max_turns: 6
      give_up: bye
    goto: bye
  bye: {hangup: 'Thank you for calling and goodbye.'}
";

const TICK: Duration = Duration::from_millis(20);
/// Frames between our sending and their ear over RTP.
const WAY: usize = 3;
const ORIGIN: Moment = Duration::from_secs(500);

#[derive(Clone, Copy)]
struct Sound {
    from: Moment,
    to: Moment,
    amplitude: i16,
}

/// What the far side has not played yet.
enum Line {
    /// All that is sent is heard, a little later.
    Rtp { queue: VecDeque<Frame> },
    /// A buffer that a clear empties.
    Buffered { queue: VecDeque<Frame>, cleared: Option<Moment> },
}

struct World {
    dice: Dice,
    call: Call,
    line: Line,
    ledger: Ledger,
    sounds: Vec<Sound>,
    loss: f64,
    pending: BTreeMap<(Moment, u64), CallInput>,
    order: u64,
    next_tick: Moment,
    ends: Moment,
    sign: Moment,
    held: bool,
    came: Came,
    /// How vendors are: the share of what goes wrong.
    trouble: f64,
}

impl World {
    fn new(seed: u64, flows: &[Arc<Flow>]) -> Self {
        let mut dice = Dice::new(seed, 0, 40);
        let has_ears = dice.unit() < 0.85;
        let facts =
            CallFacts { called: "1".into(), caller: Pii::new("2".into()), has_ears, has_model: dice.unit() < 0.9 };
        let hearing = if dice.below(50) == 0 {
            Hearing::neural(Network::shared().expect("the network"))
        } else {
            Hearing::by(SpeechDetector::new(Box::new(Loudness), SpeechConfig::default()))
        };
        let call = Call::new(CallSetup {
            dialog: Dialog::new(Arc::clone(&flows[dice.below(flows.len())]), facts),
            hearing,
            turn: TurnConfig::default(),
            longest: Duration::from_secs(90),
            no_media: Duration::from_secs(20),
            longest_hold: Duration::from_secs(15),
            has_ears,
            opening: Opening::Inbound,
        });
        let buffered = Line::Buffered { queue: VecDeque::new(), cleared: None };
        let line = if dice.unit() < 0.5 { Line::Rtp { queue: VecDeque::new() } } else { buffered };
        let mut world = Self {
            call,
            line,
            ledger: Ledger::default(),
            sounds: Vec::new(),
            loss: if dice.unit() < 0.5 { 0.0 } else { 0.1 * dice.unit() },
            pending: BTreeMap::new(),
            order: 0,
            next_tick: ORIGIN,
            ends: ORIGIN + Duration::from_secs(120),
            sign: ORIGIN,
            held: false,
            came: Came {
                end: None,
                ledger: Ledger::default(),
                recorded: Vec::new(),
                told: Vec::new(),
                interruptions: Vec::new(),
                silence: Default::default(),
                wait: Default::default(),
                lasted: Duration::ZERO,
                log: VecDeque::new(),
            },
            trouble: if dice.unit() < 0.5 { 0.0 } else { 0.3 * dice.unit() },
            dice,
        };
        world.expect(ORIGIN, CallInput::Connected);
        world.write_script(has_ears);
        world
    }

    fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(least + (most - least) * self.dice.unit())
    }

    /// What the caller will do.
    fn write_script(&mut self, has_ears: bool) {
        let mut at = ORIGIN + self.seconds(0.2, 5.0);
        let leaves = ORIGIN + self.seconds(5.0, 70.0);
        while at < leaves {
            match self.dice.below(12) {
                0..6 => {
                    let to = at + self.seconds(0.25, 2.5);
                    self.sounds.push(Sound { from: at, to, amplitude: 8000 });
                    if has_ears && self.dice.unit() < 0.85 {
                        self.recognise(at, to);
                    }
                    at = to;
                }
                // A cough, a click, a door.
                6..9 => {
                    let to = at + self.seconds(0.02, 0.4);
                    self.sounds.push(Sound { from: at, to, amplitude: 8000 });
                    at = to;
                }
                9 | 10 => {
                    let key = Digit::try_from(['1', '2', '3', '9', '0', '#', '*'][self.dice.below(7)]).expect("a key");
                    self.expect(at, CallInput::Digit(key));
                }
                _ => {
                    let back = at + self.seconds(0.1, 10.0);
                    self.expect(at, CallInput::Held(true));
                    self.expect(back, CallInput::Held(false));
                    at = back;
                }
            }
            at += self.seconds(0.1, 8.0);
        }
        if self.dice.unit() < 0.7 {
            self.expect(leaves, CallInput::HungUp(EndReason::CallerHungUp));
        }
    }

    fn recognise(&mut self, from: Moment, to: Moment) {
        let all = [
            "one",
            "two",
            "stop",
            "uh-huh",
            "yeah",
            "okay",
            "what about the green lamp",
            "no wait please",
            "cancel that order",
        ];
        let text = all[self.dice.below(all.len())];
        let words =
            || Recognised { text: Pii::new(text.to_owned()), confidence: 0.9, start: from - ORIGIN, end: to - ORIGIN };
        if self.dice.unit() < 0.6 {
            let at = (from + self.seconds(0.2, 0.6)).min(to);
            self.expect(at, CallInput::Heard(SttEvent::Interim(words())));
        }
        let at = to + self.seconds(0.05, 1.0);
        self.expect(at, CallInput::Heard(SttEvent::Final(words())));
    }

    fn expect(&mut self, at: Moment, input: CallInput) {
        self.order += 1;
        self.pending.insert((at, self.order), input);
    }

    fn run(mut self) -> Came {
        let mut now = ORIGIN;
        while !self.call.is_over() && now <= self.ends {
            let timer = self.call.poll_timeout().map(|(at, _)| at);
            let input = self.pending.keys().next().copied();
            now = [timer, input.map(|(at, _)| at), Some(self.next_tick)].into_iter().flatten().min().unwrap_or(now);
            match input.filter(|(at, _)| *at == now).and_then(|key| self.pending.remove(&key)) {
                Some(input) => self.tell(input, now),
                None if timer == Some(now) => self.call.timeout(now),
                None => self.tick(now),
            }
            self.obey(now);
        }
        self.came.lasted = now - ORIGIN;
        self.came.ledger = self.ledger;
        self.came
    }

    fn tell(&mut self, input: CallInput, now: Moment) {
        match &input {
            CallInput::Held(on) => self.held = *on,
            CallInput::Digit(_) => self.sign = now,
            _ => {}
        }
        self.call.handle(input, now);
    }

    fn tick(&mut self, now: Moment) {
        self.next_tick = now + TICK;
        let loudest = self.sounds.iter().filter(|sound| sound.from <= now && now < sound.to).map(|s| s.amplitude).max();
        if loudest.is_some() || self.held {
            self.sign = now;
        }
        if self.dice.unit() >= self.loss {
            let level = loudest.unwrap_or(4);
            let frame: Frame = std::array::from_fn(|at| if at / 8 % 2 == 0 { level } else { -level });
            self.call.tap(&frame, now, now);
        }
        self.call.timeout(now);
        self.obey(now);
        let wants = match &self.line {
            Line::Rtp { .. } => 1,
            Line::Buffered { queue, .. } => 5_usize.saturating_sub(queue.len()),
        };
        for _ in 0..wants {
            let mut frame: Frame = [0; FRAME];
            let audible = self.call.pull(&mut frame, self.in_flight(), now);
            self.send(audible, &frame, now);
        }
        match &mut self.line {
            Line::Rtp { queue } if queue.len() <= WAY => {}
            Line::Rtp { queue } | Line::Buffered { queue, .. } => match queue.pop_front() {
                Some(frame) => self.ledger.hear(&frame),
                None => self.ledger.gap(),
            },
        }
        self.obey(now);
        self.watch(now);
    }

    fn in_flight(&self) -> InFlight {
        match &self.line {
            Line::Rtp { .. } => InFlight { unheard: TICK * WAY as u32, ahead: Duration::ZERO },
            Line::Buffered { queue, .. } => {
                let ahead = TICK * queue.len() as u32;
                InFlight { unheard: ahead, ahead }
            }
        }
    }

    fn send(&mut self, audible: bool, frame: &Frame, now: Moment) {
        if audible && frame.iter().any(|s| s.unsigned_abs() > 100) {
            self.sign = now;
        }
        match &mut self.line {
            Line::Rtp { queue } => queue.push_back(if audible { *frame } else { [0; FRAME] }),
            Line::Buffered { queue, cleared } => {
                let fades = cleared.take().is_some_and(|at| now - at < TICK);
                if audible && !fades {
                    queue.push_back(*frame);
                }
            }
        }
    }

    fn watch(&mut self, now: Moment) {
        let quiet = (now - self.sign, self.sign - ORIGIN);
        let longest = if self.call.floor() == Holder::Nobody { &mut self.came.wait } else { &mut self.came.silence };
        if quiet.0 > longest.0 {
            *longest = quiet;
        }
    }

    fn obey(&mut self, now: Moment) {
        while let Some(output) = self.call.poll_output() {
            if self.came.log.len() == 200 {
                self.came.log.pop_front();
            }
            self.came.log.push_back(format!("{:?} {output:?}", now - ORIGIN));
            match output {
                CallOutput::Speak { turn, wanted, .. } => self.speak(turn, wanted.sentence, wanted.text.as_str(), now),
                CallOutput::Reply { turn, request, .. } => {
                    let said = request.messages.iter().filter(|message| message.role == Role::Assistant);
                    let said: Vec<&str> = said.map(|message| message.content.expose().as_str()).collect();
                    self.came.told.push(said.join(" "));
                    self.answer(turn, now);
                }
                CallOutput::Abandon(stale) => {
                    self.pending.retain(|_, input| turn_of(input).is_none_or(|turn| turn > stale));
                }
                CallOutput::Transfer { order: Order::Refer | Order::Call, .. } => {
                    self.expect(now + TICK, CallInput::Transfer(TransferEvent::Accepted));
                }
                CallOutput::Clear => {
                    let dropped = self.in_flight().ahead;
                    if let Line::Buffered { queue, cleared } = &mut self.line
                        && !queue.is_empty()
                    {
                        queue.clear();
                        *cleared = Some(now);
                        self.ledger.gap();
                    }
                    self.call.cleared(dropped, now);
                }
                CallOutput::Turn(turn) => {
                    let heard = turn.heard.map(Pii::into_exposed).unwrap_or_default();
                    self.came.recorded.push(heard);
                }
                CallOutput::Interruption(told) => self.came.interruptions.push(*told),
                CallOutput::HangUp(reason) => self.came.end = Some(reason),
                _ => {}
            }
        }
    }

    /// A voice: prompt or slow, whole, broken off or mute.
    fn speak(&mut self, turn: TurnId, sentence: SentenceId, text: &str, now: Moment) {
        let goes_wrong = self.dice.unit() < self.trouble;
        let first = now + if goes_wrong { self.seconds(0.1, 3.5) } else { self.seconds(0.05, 0.6) };
        let error = || ProviderError::Status { vendor: "voice", status: 500 };
        let way = if goes_wrong { self.dice.below(4) } else { 4 };
        if way == 0 {
            return self.expect(first, CallInput::SpeechFailed { turn, sentence, error: error() });
        }
        if way == 1 {
            return;
        }
        let (audio, words) = self.ledger.make(text);
        let whole = if way == 2 { audio.len() / 2 } else { audio.len() };
        self.expect(first, CallInput::WordTimes { turn, sentence, words });
        let mut at = first;
        for chunk in audio[..whole].chunks(300 * 8) {
            self.expect(at, CallInput::Speech { turn, sentence, samples: chunk.into() });
            at += Duration::from_millis(60);
        }
        let end = match way {
            2 => CallInput::SpeechFailed { turn, sentence, error: error() },
            _ => CallInput::SpeechEnded { turn, sentence },
        };
        self.expect(at, end);
    }

    /// A model: some sentences, sooner or later, or an error, or nothing.
    fn answer(&mut self, turn: TurnId, now: Moment) {
        let goes_wrong = self.dice.unit() < self.trouble;
        let mut at = now + if goes_wrong { self.seconds(0.3, 9.0) } else { self.seconds(0.1, 1.2) };
        if goes_wrong && self.dice.unit() < 0.3 {
            return;
        }
        self.expect(at, CallInput::AnswerBegan { turn });
        for _ in 0..1 + self.dice.below(3) {
            let text = ANSWERS[self.dice.below(ANSWERS.len())];
            self.expect(at, CallInput::Answer { turn, sentence: clear(text) });
            at += self.seconds(0.05, 0.5);
        }
        let end = if goes_wrong && self.dice.unit() < 0.5 {
            CallInput::AnswerFailed { turn, error: ProviderError::Status { vendor: "model", status: 429 } }
        } else {
            CallInput::AnswerEnded { turn }
        };
        self.expect(at, end);
    }
}

const ANSWERS: [&str; 6] = [
    "The green lamp costs nineteen francs, and it is ready by Thursday noon.",
    "Yes.",
    "We keep chairs of oak, ash and walnut in the back room behind the stairs.",
    "Would you like me to put one aside for you?",
    "Certainly, I have written that down for our colleagues in the workshop.",
    "Deliveries leave every weekday at seven, unless snow closes the upper road.",
];

fn turn_of(input: &CallInput) -> Option<TurnId> {
    match input {
        CallInput::Speech { turn, .. }
        | CallInput::WordTimes { turn, .. }
        | CallInput::SpeechEnded { turn, .. }
        | CallInput::SpeechFailed { turn, .. }
        | CallInput::AnswerBegan { turn }
        | CallInput::Answer { turn, .. }
        | CallInput::AnswerEnded { turn }
        | CallInput::AnswerFailed { turn, .. } => Some(*turn),
        _ => None,
    }
}

/// Whatever is loud is speech: what speech is has tests of its own.
struct Loudness;

impl Vad for Loudness {
    fn hop(&self) -> usize {
        FRAME
    }

    fn push(&mut self, hop: &[i16]) -> f32 {
        if hop.iter().any(|s| s.unsigned_abs() > 1000) { 0.95 } else { 0.02 }
    }

    fn reset(&mut self) {}
}
