//! What one 20 ms frame costs on its way in and out, whole and by stage.
//!
//! `cargo bench --bench frame`; every figure is the time of one frame.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use offhook_media::codec::opus::OpusSettings;
use offhook_media::codec::{CodecKind, Decoder, Encoder};
use offhook_media::conceal::Concealer;
use offhook_media::inband::InbandDetector;
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::jitter::JitterBuffer;
use offhook_media::outbound::{DATAGRAM, Datagram, OutboundConfig, RtpOutbound};
use offhook_media::playout::{Playout, PlayoutConfig, SentenceId};
use offhook_media::resample::{Rate, Resampler};
use offhook_media::rtp::Packet;
use offhook_media::speech::{SpeechConfig, SpeechDetector};
use offhook_media::tone::ComfortNoise;
use offhook_media::vad::{Earshot, Vad};
use offhook_media::voicing::Voicing;
use offhook_media::wav::Wav;
use offhook_media::{FRAME, Frame, Moment, SILENCE};

fn main() {
    divan::main();
}

/// Frames of a recorded voice, over and over.
fn speech() -> Vec<Frame> {
    let file = include_bytes!("../fixtures/audio/human/vm-sorry.wav");
    let wav = Wav::parse(file).unwrap_or_else(|error| panic!("{error}"));
    wav.samples.as_chunks::<FRAME>().0.to_vec()
}

fn noise() -> Vec<Frame> {
    let mut noise = ComfortNoise::new(1, -65.0);
    let mut frames = vec![SILENCE; 200];
    frames.iter_mut().for_each(|frame| noise.fill(frame));
    frames
}

/// A caller and the whole inbound path behind it.
struct Inbound {
    frames: Vec<Frame>,
    sender: RtpOutbound,
    inbound: RtpInbound,
    detector: SpeechDetector,
    tick: u64,
}

impl Inbound {
    fn new(codec: CodecKind, frames: Vec<Frame>) -> Self {
        let config = InboundConfig { dtmf_payload_type: Some(101), ..InboundConfig::new(codec, 96) };
        let detector = SpeechDetector::new(Box::new(Earshot::new()), SpeechConfig::default());
        Self { frames, sender: sender(codec), inbound: RtpInbound::new(config), detector, tick: 0 }
    }

    fn datagram(&mut self) -> (Datagram, usize) {
        let mut room = DATAGRAM;
        let frame = self.frames[self.tick as usize % self.frames.len()];
        self.sender.frame(&frame);
        let length = self.sender.poll(&mut room).unwrap();
        (room, length)
    }

    fn step(&mut self, datagram: &[u8]) {
        self.tick += 1;
        let now = Moment::from_millis(20 * self.tick);
        let mut frame = SILENCE;
        let _ = black_box(self.inbound.packet(datagram, now));
        self.inbound.tick(now);
        while let Some(at) = self.inbound.tap(&mut frame) {
            black_box(self.detector.push(&frame, at));
        }
        black_box(self.inbound.pull(now, &mut frame));
    }
}

fn sender(codec: CodecKind) -> RtpOutbound {
    RtpOutbound::new(OutboundConfig::new(codec, 96))
}

fn run_inbound(bencher: Bencher<'_, '_>, codec: CodecKind, frames: Vec<Frame>) {
    let mut line = Inbound::new(codec, frames);
    // Datagrams are made beforehand, a second at a time; a sample of the bench is one second.
    let line = std::cell::RefCell::new(&mut line);
    bencher
        .counter(divan::counter::ItemsCount::new(50usize))
        .with_inputs(|| {
            let mut line = line.borrow_mut();
            let began = line.tick;
            let datagrams: Vec<_> = (0..50)
                .map(|ahead| {
                    line.tick = began + ahead;
                    line.datagram()
                })
                .collect();
            line.tick = began;
            datagrams
        })
        .bench_local_values(|datagrams| {
            let mut line = line.borrow_mut();
            for (room, length) in &datagrams {
                line.step(&room[..*length]);
            }
        });
}

#[divan::bench(sample_size = 1, sample_count = 400, args = CodecKind::ALL)]
fn second_of_inbound_speech(bencher: Bencher<'_, '_>, codec: CodecKind) {
    run_inbound(bencher, codec, speech());
}

#[divan::bench(sample_size = 1, sample_count = 400)]
fn second_of_inbound_silence(bencher: Bencher<'_, '_>) {
    run_inbound(bencher, CodecKind::Pcmu, noise());
}

#[divan::bench]
fn outbound_pull_encode_packetise(bencher: Bencher<'_, '_>) {
    let mut playout = Playout::new(PlayoutConfig::default());
    let (chunk, mut sender): (Arc<[i16]>, _) = (vec![1000; 8000].into(), sender(CodecKind::Pcmu));
    let (mut frame, mut room, mut id) = (SILENCE, DATAGRAM, 0);
    bencher.bench_local(|| {
        if playout.queued_ms() < 20 {
            id += 1;
            let _ = playout.push(SentenceId(id), Arc::clone(&chunk), true);
        }
        black_box(playout.pull(&mut frame));
        sender.frame(&frame);
        sender.poll(&mut room)
    });
}

#[divan::bench]
fn stage_rtp_parse(bencher: Bencher<'_, '_>) {
    let (mut room, mut sender) = (DATAGRAM, sender(CodecKind::Pcmu));
    sender.frame(&SILENCE);
    let length = sender.poll(&mut room).unwrap();
    bencher.bench_local(|| Packet::parse(black_box(&room[..length])).map(|packet| packet.sequence));
}

#[divan::bench(args = CodecKind::ALL)]
fn stage_decode(bencher: Bencher<'_, '_>, codec: CodecKind) {
    let (mut encoder, mut decoder) = (Encoder::new(codec, OpusSettings::default()), Decoder::new(codec));
    let mut room = [0; 480];
    let mut packet = |frame: &Frame| {
        let length = encoder.encode(frame, &mut room).unwrap();
        room[..length].to_vec()
    };
    let packets: Vec<Vec<u8>> = speech().iter().map(&mut packet).collect();
    let (mut next, mut pcm) = (packets.iter().cycle(), SILENCE);
    bencher.bench_local(|| decoder.decode(black_box(next.next().unwrap()), black_box(&mut pcm)));
}

#[divan::bench(args = CodecKind::ALL)]
fn stage_encode(bencher: Bencher<'_, '_>, codec: CodecKind) {
    let (mut encoder, frames) = (Encoder::new(codec, OpusSettings::default()), speech());
    let (mut next, mut octets) = (frames.iter().cycle(), [0; 480]);
    bencher.bench_local(|| encoder.encode(black_box(next.next().unwrap()), black_box(&mut octets)));
}

#[divan::bench]
fn stage_tones_of_keys_on_speech(bencher: Bencher<'_, '_>) {
    tones(bencher, speech());
}

#[divan::bench]
fn stage_tones_of_keys_on_silence(bencher: Bencher<'_, '_>) {
    tones(bencher, noise());
}

fn tones(bencher: Bencher<'_, '_>, frames: Vec<Frame>) {
    let (mut detector, mut next) = (InbandDetector::new(), frames.iter().cycle());
    bencher.bench_local(|| detector.push(black_box(next.next().unwrap())));
}

#[divan::bench]
fn stage_conceal_between_two_frames(bencher: Bencher<'_, '_>) {
    let (mut concealer, frames) = (Concealer::new(), speech());
    frames.clone().iter_mut().take(60).for_each(|frame| concealer.heard(frame));
    let future = [frames[61], frames[62]].concat();
    bencher.with_inputs(|| concealer.clone()).bench_local_refs(|concealer| {
        concealer.conceal_towards(&mut SILENCE.clone(), FRAME, black_box(&future[..240]))
    });
}

#[divan::bench]
fn stage_jitter_insert_pull(bencher: Bencher<'_, '_>) {
    let (mut buffer, frames, mut tick) = (JitterBuffer::new(), speech(), 0usize);
    bencher.bench_local(|| {
        tick += 1;
        let now = Moment::from_millis(20 * tick as u64);
        buffer.insert(tick as u16, tick as u32 * 160, &frames[tick % frames.len()], now);
        buffer.pull(now, &mut SILENCE.clone())
    });
}

#[divan::bench]
fn stage_conceal_first_lost_frame(bencher: Bencher<'_, '_>) {
    let mut concealer = Concealer::new();
    speech().iter_mut().take(60).for_each(|frame| concealer.heard(frame));
    bencher.with_inputs(|| concealer.clone()).bench_local_refs(|concealer| concealer.conceal(&mut SILENCE.clone()));
}

#[divan::bench]
fn stage_speech_detector_on_speech(bencher: Bencher<'_, '_>) {
    detector(bencher, speech());
}

#[divan::bench]
fn stage_speech_detector_on_silence(bencher: Bencher<'_, '_>) {
    detector(bencher, noise());
}

fn detector(bencher: Bencher<'_, '_>, frames: Vec<Frame>) {
    let mut detector = SpeechDetector::new(Box::new(Earshot::new()), SpeechConfig::default());
    let mut tick = 0usize;
    bencher.bench_local(|| {
        tick += 1;
        detector.push(&frames[tick % frames.len()], Moment::from_millis(20 * tick as u64))
    });
}

#[divan::bench]
fn stage_earshot_hop_of_16_ms(bencher: Bencher<'_, '_>) {
    let (mut vad, frames) = (Earshot::new(), speech());
    let mut hop = frames.iter().cycle();
    bencher.bench_local(|| hop.next().map(|frame| vad.push(&frame[..128])));
}

#[divan::bench]
fn stage_periodicity(bencher: Bencher<'_, '_>) {
    let mut voicing = Voicing::new();
    speech().iter().take(40).for_each(|frame| voicing.push(frame));
    bencher.bench_local(|| black_box(&voicing).periodicity());
}

#[divan::bench(args = [Rate::Hz16000, Rate::Hz22050, Rate::Hz24000, Rate::Hz44100, Rate::Hz48000])]
fn stage_resample_20_ms_to_8_khz(bencher: Bencher<'_, '_>, from: &Rate) {
    let mut resampler = Resampler::new(*from, Rate::Hz8000);
    let input = vec![1000; from.hz() as usize / 50];
    let mut output = Vec::with_capacity(resampler.most_output(input.len()));
    bencher.bench_local(|| {
        output.clear();
        resampler.push(black_box(&input), &mut output);
    });
}
