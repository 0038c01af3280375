//! Any script of packets, noise, events, made-up audio and pulls leaves the jitter buffer in working order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_media::comfort::Level;
use offhook_media::jitter::JitterBuffer;
use offhook_media::{Moment, SILENCE};

fuzz_target!(|data: &[u8]| {
    let mut buffer = JitterBuffer::new();
    let mut now = Moment::ZERO;
    let mut frame = SILENCE;
    let pcm = [1000i16; 512];
    for op in data.chunks_exact(9) {
        let &[kind, s0, s1, t0, t1, t2, t3, length, wait] = op else { continue };
        now += Moment::from_millis(u64::from(wait));
        let (sequence, timestamp) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([t0, t1, t2, t3]));
        let samples = pcm.get(..usize::from(length) * 2).unwrap_or(&pcm);
        match kind & 7 {
            0 | 2 => drop(buffer.pull(now, &mut frame)),
            1 => drop(buffer.insert(sequence, timestamp, samples, now)),
            3 => drop(Level::parse(&[t3]).map(|level| buffer.comfort_noise(sequence, level))),
            5 => buffer.event(sequence),
            6 => drop(buffer.past(sequence, timestamp, samples.len(), now)),
            _ => buffer.fill(timestamp, samples, usize::from(length)),
        }
        if kind & 0xF0 == 0xF0 {
            buffer.reset();
        }
        buffer.runs_short(now);
    }
    let stats = buffer.stats();
    assert!((20..=120).contains(&stats.target_ms));
});
