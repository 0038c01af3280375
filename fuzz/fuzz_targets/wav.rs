//! Any bytes as a sound file: an error, or audio whose length the file's own length bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_media::wav::Wav;

fuzz_target!(|data: &[u8]| {
    if let Ok(wav) = Wav::parse(data) {
        // The lowest rate that is read is ours; a sample takes an octet at least.
        assert!(wav.samples.len() <= data.len() + 1_000);
        assert!(matches!(wav.channels, 1 | 2));
    }
});
