//! The actor: owns one call's core and leg, carries inputs to the one and outputs to wherever they belong.
//!
//! It decides nothing. Its tasks (voice, answer, ears) hang on the senders in its fields: dropping the actor ends
//! them. They are started when first needed, so that a call without speech costs none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use offhook_media::{FRAME, Frame};
use tokio::sync::mpsc;

use super::admission::Permit;
use super::answer::{self, AnswerMsg};
use super::core::{Call, CallInput, CallOutput};
use super::handover::{Handover, Targets};
use super::latency::ms;
use super::leg::{Leg, LegEvent, LegStats, NoAudio};
use super::listen;
use super::outgoing::{Dialers, Parent};
use super::registry::Registry;
use super::shard::CallPort;
use super::speak::{self, SpeakMsg};
use super::transfer::{Order, TransferEvent};
use super::{Moment, TurnId, quality};
use crate::dialog::{HookPlan, TransferTo};
use crate::providers::hook::Hooks;
use crate::providers::{FrameSender, Language, Llm, Providers, SpeakRequest, Stt, Tts, frame_queue};
use crate::recording::{FAILED, Note, Recorder, Recordings};
use crate::safety::said::Cleared;
use crate::store::RecordSink;
use crate::store::record::{CallEvent, CallId, CallSummary, EndReason, Record, TurnRecord, Via};
use crate::store::shared::Shared;
use crate::store::told::{Told, ToldCaller};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::pii::Pii;

/// What every call of the process shares.
#[derive(Clone)]
pub struct Services {
    /// Where voices, models and recognisers run: never on a media shard.
    pub runtime: tokio::runtime::Handle,
    pub providers: Providers,
    /// The providers' voices as one: the next speaks when one fails.
    pub voice: Arc<dyn Tts>,
    /// The providers' recognisers as one, if there are any.
    pub ears: Option<Arc<dyn Stt>>,
    /// The providers' models as one, if there are any.
    pub model: Option<Arc<dyn Llm>>,
    /// Speaking rate of the line, on top of what a step asks for; 1.0 is the voice's own.
    pub rate: f32,
    pub records: RecordSink,
    pub metrics: Metrics,
    pub registry: Registry,
    /// What other nodes are told.
    pub shared: Shared,
    /// Whom calls may be handed to.
    pub targets: Targets,
    /// Who places calls.
    pub dialers: Dialers,
    /// None where nothing is recorded.
    pub recordings: Option<Recordings>,
    /// What callers were told in earlier calls.
    pub told: Told,
    /// The operator's own services.
    pub hooks: Hooks,
}

/// A call as a transport hands it over.
pub struct NewCall {
    pub id: CallId,
    pub via: Via,
    pub core: Call,
    pub leg: Box<dyn Leg>,
    pub permit: Permit,
    /// The call that this one was placed for.
    pub parent: Option<Parent>,
    pub told: ToldCaller,
}

/// See the module's header.
pub struct Actor {
    id: CallId,
    via: Via,
    core: Call,
    leg: Box<dyn Leg>,
    port: CallPort,
    services: Arc<Services>,
    voice: Option<mpsc::Sender<SpeakMsg>>,
    model: Option<mpsc::Sender<AnswerMsg>>,
    ears: Option<FrameSender>,
    recorder: Recorder,
    overrun: Arc<AtomicBool>,
    started_at: Moment,
    late_ticks: u64,
    turns: u32,
    over: bool,
    handover: Handover,
    parent: Option<Parent>,
    told: ToldCaller,
    _permit: Permit,
}

impl Actor {
    pub fn new(call: NewCall, port: CallPort, services: Arc<Services>, now: Moment) -> Self {
        let recorder = Recorder::new(call.id, services.recordings.clone());
        Self {
            id: call.id,
            via: call.via,
            core: call.core,
            leg: call.leg,
            overrun: port.overrun(),
            port,
            services,
            voice: None,
            model: None,
            ears: None,
            recorder,
            started_at: now,
            late_ticks: 0,
            turns: 0,
            over: false,
            handover: Handover::default(),
            parent: call.parent,
            told: call.told,
            _permit: call.permit,
        }
    }

    /// The call's 20 ms: everything that arrived goes in, one frame goes out. `planned` is when this was due.
    pub fn tick(&mut self, planned: Moment, now: Moment) {
        self.watch_pace(planned, now);
        let note = self.recorder.tick(planned);
        self.note(note, now);
        let Self { core, leg, ears, recorder, .. } = self;
        let mut silent = None;
        let mut inputs = |event: LegEvent<'_>| match event {
            LegEvent::Tap { frame, arrival } => core.tap(frame, arrival, now),
            LegEvent::Heard { frame, .. } => {
                recorder.heard(frame);
                if let Some(ears) = ears {
                    ears.push_or_drop(*frame);
                }
            }
            LegEvent::Digit(digit) => core.handle(CallInput::Digit(digit), now),
            LegEvent::HungUp(reason) => core.handle(CallInput::HungUp(reason), now),
            LegEvent::NoAudio(told) => silent = Some(*told),
        };
        leg.drain(now, &mut inputs);
        if let Some(told) = silent {
            self.tell_no_audio(told, now);
        }
        if self.overrun.load(Ordering::Relaxed) {
            self.core.handle(CallInput::HungUp(EndReason::Overrun), now);
        }
        self.core.timeout(now);
        self.obey(now);
        for _ in 0..self.leg.wants(now) {
            let mut frame: Frame = [0; FRAME];
            let audible = self.core.pull(&mut frame, self.leg.in_flight(now), now);
            if audible {
                self.recorder.sent(&frame);
            }
            self.leg.send(audible.then_some(&frame), now);
        }
        self.obey(now);
    }

    /// Something other than audio happened.
    pub fn deliver(&mut self, input: CallInput, now: Moment) {
        self.core.handle(input, now);
        self.obey(now);
    }

    /// A timer of the core is due between two ticks.
    pub fn timeout(&mut self, now: Moment) {
        self.core.timeout(now);
        self.obey(now);
    }

    /// When [`Actor::timeout`] is due.
    pub fn wake_at(&self) -> Option<Moment> {
        self.core.poll_timeout().map(|(at, _)| at)
    }

    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Ends the call after its own code has failed: nothing of the core is touched any more.
    pub fn abort(&mut self, now: Moment) {
        self.finish(EndReason::InternalError, now);
    }

    fn watch_pace(&mut self, planned: Moment, now: Moment) {
        let late = ms(now.saturating_sub(planned));
        self.services.metrics.pacing_error_ms.observe(late);
        if late > LATE_TICK_MS {
            self.late_ticks += 1;
        }
    }

    fn obey(&mut self, now: Moment) {
        while let Some(output) = self.core.poll_output() {
            match output {
                CallOutput::Speak { turn, wanted, language } => {
                    let request = SpeakRequest {
                        text: wanted.text,
                        language,
                        voice: wanted.voice,
                        rate: wanted.rate * self.services.rate,
                    };
                    self.tell_voice(SpeakMsg::Say { turn, sentence: wanted.sentence, request });
                }
                CallOutput::GiveUp { turn, sentence } => self.tell_voice(SpeakMsg::GiveUp { turn, sentence }),
                CallOutput::Reply { turn, request, language } => {
                    self.ask_model(turn, AnswerMsg::Reply { turn, request, language }, now);
                }
                CallOutput::Hook(plan) => self.ask_service(*plan),
                CallOutput::Abandon(turn) => self.abandon(turn),
                CallOutput::Listen { language, hints } => self.listen(language, hints),
                CallOutput::Transfer { order, to, brief } => self.hand_over(order, to, brief, now),
                CallOutput::Answer => self.leg.answer(),
                CallOutput::Hold(on) => self.leg.hold(on),
                CallOutput::Clear => {
                    let dropped = self.leg.clear(now);
                    self.core.cleared(dropped, now);
                    self.recorder.cleared();
                }
                CallOutput::Recording(order) => {
                    let note = self.recorder.obey(order);
                    self.note(note, now);
                }
                CallOutput::Turn(turn) => self.keep_turn(turn),
                CallOutput::Interruption(interruption) => {
                    let (call, at) = (self.id, Timestamp::now());
                    self.services.records.record(Record::Interruption { call, at, interruption });
                }
                CallOutput::Event(event) => self.keep_event(event),
                CallOutput::HangUp(reason) => self.finish(reason, now),
            }
        }
    }

    fn tell_voice(&mut self, message: SpeakMsg) {
        let (services, port) = (&self.services, &self.port);
        let voice = self.voice.get_or_insert_with(|| {
            let (sender, inbox) = mpsc::channel(speak::INBOX);
            services.runtime.spawn(speak::run(inbox, Arc::clone(&services.voice), port.clone()));
            sender
        });
        if voice.try_send(message).is_err() {
            self.overrun.store(true, Ordering::Relaxed);
        }
    }

    fn ask_model(&mut self, turn: TurnId, message: AnswerMsg, now: Moment) {
        let Some(llm) = self.services.model.clone() else {
            let error = crate::providers::ProviderError::NotConfigured { vendor: "llm", what: "llm.provider".into() };
            return self.core.handle(CallInput::AnswerFailed { turn, error }, now);
        };
        let (services, port) = (&self.services, &self.port);
        let model = self.model.get_or_insert_with(|| {
            let (sender, inbox) = mpsc::channel(answer::INBOX);
            services.runtime.spawn(answer::run(inbox, llm, port.clone()));
            sender
        });
        if model.try_send(message).is_err() {
            self.overrun.store(true, Ordering::Relaxed);
        }
    }

    /// Beside the shard; the answer comes back as an input, also when there is none.
    fn ask_service(&self, plan: HookPlan) {
        let (hooks, port) = (self.services.hooks.clone(), self.port.clone());
        let HookPlan { id, to, body } = plan;
        let key = format!("{}-{id}", self.id);
        self.services.runtime.spawn(async move {
            let answer = hooks.ask(&to, &body, &key).await;
            if let Err(error) = &answer {
                tracing::warn!(hook = %to, %error, "a service did not answer");
            }
            port.send(CallInput::HookDone { id, answer: answer.ok() }).await;
        });
    }

    fn abandon(&mut self, turn: TurnId) {
        let voice = self.voice.as_ref().map(|voice| voice.try_send(SpeakMsg::Abandon(turn)).is_ok());
        let model = self.model.as_ref().map(|model| model.try_send(AnswerMsg::Abandon(turn)).is_ok());
        if voice == Some(false) || model == Some(false) {
            self.overrun.store(true, Ordering::Relaxed);
        }
    }

    fn listen(&mut self, language: Language, hints: Arc<[String]>) {
        let Some(stt) = self.services.ears.clone() else { return };
        let (sender, audio) = frame_queue(listen::FRAMES);
        self.services.runtime.spawn(listen::run(stt, language, hints, audio, self.port.clone()));
        // The session before this one ends as its audio ends.
        self.ears = Some(sender);
    }

    fn hand_over(&mut self, order: Order, to: TransferTo, brief: Vec<Cleared>, now: Moment) {
        let language = self.core.language();
        let way = (&self.services, &self.port);
        if let Err(why) = self.handover.obey(order, (to, brief), &mut *self.leg, way, language) {
            self.core.handle(CallInput::Transfer(TransferEvent::Impossible(why)), now);
        }
    }

    fn note(&mut self, note: Option<Note>, now: Moment) {
        if let Some((kind, detail)) = note {
            self.core.event(kind, Some(Pii::new(detail)), now);
            if kind == FAILED {
                self.core.handle(CallInput::RecordingFailed, now);
            }
        }
    }

    fn keep_turn(&mut self, mut turn: Box<TurnRecord>) {
        self.turns += 1;
        turn.number = self.turns;
        self.services.records.record(Record::Turn { call: self.id, at: Timestamp::now(), turn });
    }

    fn keep_event(&self, event: CallEvent) {
        if let Some(parent) = &self.parent {
            parent.hears(event.kind);
        }
        match event.kind {
            "digit" => {
                self.services.metrics.digits.inc();
            }
            "told" => {
                let detail = event.detail.as_ref().map(Pii::expose);
                let list = detail.and_then(|detail| detail["list"].as_str());
                let item = detail.and_then(|detail| detail["item"].as_u64()).and_then(|item| u32::try_from(item).ok());
                if let (Some(list), Some(item)) = (list, item) {
                    self.told.note(list, item);
                }
            }
            "held" => {
                self.services.metrics.holds.inc();
            }
            "transfer_done" => {
                self.services.metrics.transferred(self.core.counts().transfer.unwrap_or_default());
            }
            "barge_in" => {
                self.services.metrics.barge_ins.inc();
                self.services.shared.barged_in(self.id, event.at_ms);
            }
            _ => {}
        }
        self.services.records.record(Record::Event { call: self.id, at: Timestamp::now(), event });
    }

    /// The one log line of a call between answer and end: it is written by another thread than the one that plays.
    fn tell_no_audio(&self, told: NoAudio, now: Moment) {
        let (call, metrics) = (self.id, self.services.metrics.clone());
        self.keep_event(quality::no_audio(&told, ms(now.saturating_sub(self.started_at))));
        self.services.runtime.spawn(async move {
            metrics.no_audio(told.cause.as_str());
            tracing::warn!(%call, "{told}");
        });
    }

    fn finish(&mut self, reason: EndReason, now: Moment) {
        if self.over {
            return;
        }
        self.over = true;
        self.leg.hang_up(&reason);
        if let Some(parent) = &self.parent {
            parent.hears_end(&reason);
        }
        self.services.registry.remove(self.id);
        let stats = self.leg.stats();
        self.measure_end(&reason, &stats);
        let summary = self.summary(&stats, now);
        self.services.records.record(Record::CallEnded { call: self.id, at: Timestamp::now(), reason, summary });
    }

    fn measure_end(&self, reason: &EndReason, stats: &LegStats) {
        let metrics = &self.services.metrics;
        metrics.call_ended(self.via.as_str(), reason.as_str());
        quality::measure(metrics, stats);
        let counts = self.core.counts();
        metrics.speculations.inc_by(counts.speculations.into());
        metrics.speculations_used.inc_by(counts.speculations_used.into());
        metrics.cut_ins.inc_by(counts.cut_ins.into());
        metrics.frames_dropped.inc_by(self.ears.as_ref().map_or(0, FrameSender::dropped));
    }

    fn summary(&self, stats: &LegStats, now: Moment) -> CallSummary {
        let counts = self.core.counts();
        CallSummary {
            duration_ms: ms(now.saturating_sub(self.started_at)),
            turns: counts.turns,
            barge_ins: counts.barge_ins,
            frames_sent: stats.frames_sent,
            frames_received: stats.frames_received,
            packets_lost: stats.packets_lost,
            concealed_ms: stats.concealed_ms,
            jitter_ms: stats.jitter_ms,
            late_ticks: self.late_ticks,
            holds: counts.holds,
            held_ms: ms(self.core.held_for(now)),
            transfer: counts.transfer,
            trunk: self.core.trunk().cloned(),
            quality: Box::new(quality::quality(stats)),
        }
    }
}

/// A tick later than this is counted in the call's record.
const LATE_TICK_MS: f64 = 5.0;
