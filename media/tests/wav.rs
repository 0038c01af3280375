//! WAV files: every format in, what is written comes back, and errors that name the place.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;

use offhook_media::g711::G711;
use offhook_media::level::rms_dbfs;
use offhook_media::resample::Rate;
use offhook_media::wav::{Wav, WavError, header, write_mono, write_stereo};
use proptest::prelude::*;

fn file(format: u16, channels: u16, hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    let block = channels * bits / 8;
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&channels.to_le_bytes());
    out.extend_from_slice(&hz.to_le_bytes());
    out.extend_from_slice(&(hz * u32::from(block)).to_le_bytes());
    out.extend_from_slice(&block.to_le_bytes());
    out.extend_from_slice(&bits.to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(data);
    out
}

#[test]
fn what_is_written_comes_back() {
    let samples: Vec<i16> = (-2000..2000).map(|n| n * 8).collect();
    let wav = Wav::parse(&write_mono(Rate::Hz8000, &samples).unwrap()).unwrap();
    assert_eq!(wav, Wav { samples: samples.clone(), rate: Rate::Hz8000, channels: 1 });
    let stereo = write_stereo(Rate::Hz8000, &samples, &samples[..100]).unwrap();
    let wav = Wav::parse(&stereo).unwrap();
    assert_eq!((wav.channels, wav.samples.len()), (2, samples.len()));
    assert_eq!(wav.samples[..100], samples[..100]);
    assert_eq!(wav.samples[200], samples[200] / 2);
}

#[test]
fn eight_bit_and_companded_files_are_read() {
    assert_eq!(Wav::parse(&file(1, 1, 8000, 8, &[0, 128, 255])).unwrap().samples, [-32768, 0, 127 << 8]);
    for (format, law) in [(6, G711::Alaw), (7, G711::Ulaw)] {
        let pcm = [-8000i16, -100, 0, 100, 8000, 20_000];
        let (mut octets, mut decoded) = ([0; 6], [0; 6]);
        law.encode(&pcm, &mut octets);
        law.decode(&octets, &mut decoded);
        assert_eq!(Wav::parse(&file(format, 1, 8000, 8, &octets)).unwrap().samples, decoded);
    }
}

#[test]
fn every_rate_becomes_8_khz_at_its_place_in_time() {
    for hz in [11_025u32, 16_000, 22_050, 24_000, 44_100, 48_000] {
        let rate = Rate::from_hz(hz).unwrap();
        let half = hz as usize / 2;
        let samples: Vec<i16> = (0..2 * half)
            .map(|n| {
                if n < half {
                    0
                } else {
                    (8000.0 * (core::f32::consts::TAU * 600.0 * n as f32 / hz as f32).sin()) as i16
                }
            })
            .collect();
        let wav = Wav::parse(&write_mono(rate, &samples).unwrap()).unwrap();
        assert!(wav.samples.len().abs_diff(8000) <= 2, "{hz}: {}", wav.samples.len());
        assert!(rms_dbfs(&wav.samples[..3950]) < -60.0, "{hz}");
        assert!((rms_dbfs(&wav.samples[4050..7900]) - rms_dbfs(&samples[half..])).abs() < 0.2, "{hz}");
    }
}

#[test]
fn other_chunks_are_skipped_and_streamed_lengths_mean_to_the_end() {
    let mut bytes = write_mono(Rate::Hz8000, &[1, 2, 3]).unwrap();
    bytes.splice(36..36, *b"LIST\x03\0\0\0abc\0");
    assert_eq!(Wav::parse(&bytes).unwrap().samples, [1, 2, 3]);
    let length = bytes.len() - 10;
    bytes[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes.push(9);
    assert_eq!(Wav::parse(&bytes).unwrap().samples, [1, 2, 3]);
}

#[test]
fn errors_name_the_place() {
    let cases: [(Vec<u8>, &str); 9] = [
        (b"RIF".to_vec(), "RIFF at offset 0 needs 4 octets, 3 are left"),
        (b"OggS".to_vec(), "expected \"RIFF\" at offset 0"),
        (b"RIFF\0\0\0\0AVI ".to_vec(), "expected \"WAVE\" at offset 8"),
        (b"RIFF\0\0\0\0WAVE".to_vec(), "no \"fmt \" chunk before the end at offset 12"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0".to_vec(), "no \"fmt \" chunk before the end at offset 20"),
        (
            file(3, 1, 8000, 32, &[]),
            "format 0x0003 with 32 bits at offset 20, expected PCM of 8 or 16 bits, mu-law or A-law",
        ),
        (file(1, 6, 8000, 16, &[]), "6 channels at offset 22, expected 1 or 2"),
        (file(1, 2, 8000, 16, &[0; 6]), "data of 6 octets at offset 44 is no multiple of 4"),
        (file(1, 1, 8000, 16, &[0; 6])[..48].to_vec(), "data chunk at offset 44 needs 6 octets, 4 are left"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(Wav::parse(&bytes).unwrap_err().to_string(), expected);
    }
    let error = Wav::parse(&file(1, 1, 12_345, 16, &[])).unwrap_err();
    assert!(error.to_string().starts_with("at offset 24: sample rate 12345 Hz"), "{error}");
    assert!(matches!(header(Rate::Hz8000, 1, usize::MAX), Err(WavError::TooLongToWrite { .. })));
}

#[test]
fn the_committed_recordings_are_read() {
    for entry in std::fs::read_dir(lab::fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wav") {
            let wav = Wav::parse(&std::fs::read(&path).unwrap()).unwrap();
            assert!(wav.samples.len() > 4000 && rms_dbfs(&wav.samples) > -40.0, "{}", path.display());
        }
    }
}

proptest! {
    #[test]
    fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), format in 0u16..9, channels in 0u16..4, cut in 0usize..120) {
        let _ = Wav::parse(&bytes);
        let mut whole = file(format, channels, 8000, 8, &bytes);
        whole.truncate(whole.len() - cut.min(whole.len()));
        let _ = Wav::parse(&whole);
        for (place, &byte) in bytes.iter().enumerate().take(44) {
            let mut bent = write_mono(Rate::Hz16000, &[1; 50]).unwrap();
            bent[place] = byte;
            let _ = Wav::parse(&bent);
        }
    }
}
