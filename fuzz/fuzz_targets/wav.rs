//! Any file is a WAV file of bounded length or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_media::wav::{MOST_SAMPLES, Wav};

fuzz_target!(|data: &[u8]| {
    if let Ok(wav) = Wav::parse(data) {
        assert!(wav.samples.len() <= MOST_SAMPLES);
        assert!(wav.channels == 1 || wav.channels == 2);
    }
});
