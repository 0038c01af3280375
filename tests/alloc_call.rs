//! After answer a 20 ms frame allocates nothing: packet in, tap, core, frame out, packet out, counted by the allocator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use offhook::call::Moment;
use offhook::call::core::{Call, CallInput, CallSetup, Opening};
use offhook::call::hearing::Hearing;
use offhook::call::leg::InFlight;
use offhook::config::{Consent, RecordingConfig};
use offhook::dialog::flow::NoAssets;
use offhook::dialog::{CallFacts, Catalogue, Dialog, Flow, RecordingOrder};
use offhook::recording::{Recorder, Recordings};
use offhook::store::record::CallId;
use offhook::store::{DataConfig, DatabaseConfig, Store, StoreConfig};
use offhook::telemetry::metrics::Metrics;
use offhook::telemetry::pii::Pii;
use offhook::turn::TurnConfig;
use offhook_media::codec::CodecKind;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame};

const IN_FLIGHT: InFlight = InFlight { unheard: Duration::from_millis(40), ahead: Duration::ZERO };

/// 100 s.
const FRAMES: usize = 5_000;

/// A short tone every 30 s.
const QUIET: &str = "
name: quiet
endless: true
steps:
  tone:
    play:
      tone: {hz: 440, ms: 100}
    wait_ms: 30000
    goto: self
";

/// One long tone after the other.
const TONE: &str = "
name: long
endless: true
steps:
  tone:
    play:
      tone: {hz: 440, ms: 60000}
    wait_ms: 3000
    goto: self
";

/// Both sides of a call without a network, driven as the actor drives it.
struct Loop {
    call: Call,
    phone: RtpOutbound,
    inbound: RtpInbound,
    outbound: RtpOutbound,
    recorder: Recorder,
    now: Moment,
    audible: usize,
    outputs: usize,
}

impl Loop {
    fn new(flow: Arc<Flow>) -> Self {
        let facts = CallFacts { called: "1".into(), caller: Pii::default(), has_ears: false, has_model: false };
        let mut call = Call::new(CallSetup {
            dialog: Dialog::new(flow, facts),
            hearing: Hearing::neural(Network::shared().unwrap()),
            turn: TurnConfig::default(),
            longest: Duration::from_secs(3600),
            no_media: Duration::from_secs(60),
            longest_hold: Duration::from_secs(300),
            has_ears: false,
            opening: Opening::Inbound,
        });
        call.handle(CallInput::Connected, Duration::ZERO);
        let sending = |ssrc| OutboundConfig {
            dtmf_payload_type: Some(101),
            ssrc,
            first_seq: 1,
            ..OutboundConfig::new(CodecKind::Pcmu, 0)
        };
        let receiving = InboundConfig { dtmf_payload_type: Some(101), ..InboundConfig::new(CodecKind::Pcmu, 0) };
        Self {
            call,
            phone: RtpOutbound::new(sending(1)),
            inbound: RtpInbound::new(receiving),
            outbound: RtpOutbound::new(sending(2)),
            recorder: Recorder::new(CallId::fresh(), None),
            now: Duration::ZERO,
            audible: 0,
            outputs: 0,
        }
    }

    fn tick(&mut self, microphone: &Frame) {
        self.now += Duration::from_millis(20);
        let now = self.now;
        assert_eq!(self.recorder.tick(now), None);
        let mut datagram = DATAGRAM;
        self.phone.frame(microphone);
        while let Some(length) = self.phone.poll(&mut datagram) {
            self.inbound.packet(&datagram[..length], now).unwrap();
        }
        self.inbound.tick(now);
        let mut frame: Frame = [0; FRAME];
        while let Some(arrival) = self.inbound.tap(&mut frame) {
            self.call.tap(&frame, arrival, now);
        }
        self.inbound.pull(now, &mut frame);
        self.recorder.heard(&frame);
        self.call.timeout(now);
        let audible = self.call.pull(&mut frame, IN_FLIGHT, now);
        if audible {
            self.recorder.sent(&frame);
        }
        self.audible += usize::from(audible);
        self.outbound.frame(&frame);
        while self.outbound.poll(&mut datagram).is_some() {}
        while self.call.poll_output().is_some() {
            self.outputs += 1;
        }
    }

    /// Ten seconds to warm up, then [`FRAMES`] that are counted. Gives the frames that allocated: those in which the
    /// dialog was told something. All others must have allocated nothing.
    fn allocating(&mut self, microphone: impl Fn(usize) -> Frame) -> usize {
        (0..500).for_each(|n| self.tick(&microphone(n)));
        (self.audible, self.outputs) = (0, 0);
        let counted = (0..FRAMES).map(|n| allocation_counter::measure(|| self.tick(&microphone(n))));
        counted.filter(|counted| counted.count_total > 0).count()
    }
}

fn parsed(yaml: &str) -> Arc<Flow> {
    Arc::new(Flow::parse("alloc.yaml", yaml, &NoAssets).unwrap())
}

const fn silence(_: usize) -> Frame {
    [0; FRAME]
}

/// Noise at the level of an open window: the gate opens and the network runs.
fn hiss(n: usize) -> Frame {
    let mut state = n as u32 | 1;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 21) as i16 - 1024
    })
}

/// Frames that may allocate in a round of tone and pause: its end was heard, the next one begins.
const PER_ROUND: usize = 2;

#[test]
fn silence_allocates_nothing() {
    let mut call = Loop::new(parsed(QUIET));
    let allocating = call.allocating(silence);
    assert!(allocating <= 4 * PER_ROUND, "{allocating} frames; a beep comes every 30 s");
    assert!(call.audible < 50);
}

#[test]
fn a_noisy_line_allocates_nothing() {
    let mut call = Loop::new(parsed(QUIET));
    let allocating = call.allocating(hiss);
    assert!(allocating <= 4 * PER_ROUND, "{allocating} frames");
}

#[test]
fn a_tone_allocates_nothing() {
    let mut call = Loop::new(parsed(TONE));
    let allocating = call.allocating(silence);
    assert!(allocating <= 2 * PER_ROUND, "{allocating} frames; the tone ends once a minute");
    assert!(call.audible > FRAMES - 400, "{}", call.audible);
}

#[test]
fn the_bench_line_allocates_only_where_something_is_decided() {
    let mut call = Loop::new(Arc::clone(Catalogue::built_in().unwrap().flow_for("1000")));
    let allocating = call.allocating(silence);
    assert!(allocating <= (FRAMES / 652 + 1) * PER_ROUND, "{allocating} frames; it decides twice in 13 s");
    assert!(call.audible > FRAMES / 2, "{}", call.audible);
    println!("{allocating} of {FRAMES} frames allocated");
}

/// A recorded call pays a copy of each frame and nothing else, whether the writer keeps up or (as here, on and off) not.
#[test]
fn a_recorded_call_allocates_no_more() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = std::env::temp_dir().join(format!("offhook-alloc-{}", CallId::fresh()));
    runtime.block_on(async {
        let metrics = Metrics::new();
        let data = DataConfig { dir: folder.clone() };
        let opened = Store::open(&DatabaseConfig::default(), &data, &StoreConfig::default(), metrics.clone()).await;
        let (_store, records, writer) = opened.unwrap();
        let config = RecordingConfig { enabled: true, consent: Consent::None, min_free_bytes: 0, ..Default::default() };
        let recordings =
            Recordings::start(&config, &folder.join("recordings"), Vec::new(), records, metrics.clone()).unwrap();
        let mut call = Loop::new(parsed(TONE));
        call.recorder = Recorder::new(CallId::fresh(), Some(recordings.clone()));
        assert_eq!(call.recorder.obey(RecordingOrder::Begin).unwrap().0, "recording_began");
        let allocating = call.allocating(hiss);
        assert!(allocating <= 2 * PER_ROUND, "{allocating} frames; the tone ends once a minute");
        drop(call);
        assert!(recordings.stop(Duration::from_secs(20)).await);
        assert!(metrics.recorded_bytes.get() > 0, "{}", metrics.encode());
        assert!(writer.shutdown(Duration::from_secs(10)).await);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}
