//! The scenarios and recordings that come with the program, so that it runs with nothing beside it.

/// Every shipped scenario: file name and text. The default mix plays all of them.
pub const SCENARIOS: &[(&str, &str)] = &[
    ("barge_in.yaml", include_str!("../../fixtures/scenarios/barge_in.yaml")),
    ("noise_burst.yaml", include_str!("../../fixtures/scenarios/noise_burst.yaml")),
    ("long_answer.yaml", include_str!("../../fixtures/scenarios/long_answer.yaml")),
    ("menu_by_key.yaml", include_str!("../../fixtures/scenarios/menu_by_key.yaml")),
    ("hang_up_mid_speech.yaml", include_str!("../../fixtures/scenarios/hang_up_mid_speech.yaml")),
];

/// A shipped recording by the name that scenarios give it.
pub fn recording(name: &str) -> Option<&'static [u8]> {
    RECORDINGS.iter().find(|(known, _)| *known == name).map(|&(_, bytes)| bytes)
}

macro_rules! human {
    ($($file:literal),* $(,)?) => {
        &[$((concat!("human/", $file), include_bytes!(concat!("../../fixtures/audio/human/", $file)))),*]
    };
}

const RECORDINGS: &[(&str, &[u8])] = human![
    "demo-nomatch.wav",
    "from-unknown-caller.wav",
    "goodbye.wav",
    "hello.wav",
    "im-sorry.wav",
    "number-not-answering.wav",
    "one.wav",
    "please-try-again.wav",
    "pls-hold-while-try.wav",
    "to-call-this-number.wav",
    "transfer.wav",
    "vm-repeat.wav",
    "vm-tocallback.wav",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::Recording;

    #[test]
    fn every_recording_has_its_labels_inside() {
        for (name, bytes) in RECORDINGS {
            let recording = Recording::from_wav(name, bytes).unwrap();
            let speech_ms = (recording.end - recording.onset) / 8;
            assert!((400..4000).contains(&speech_ms), "{name}: {speech_ms} ms");
            assert!(recording.onset >= 80 * 4, "{name}: no silence before the onset");
        }
    }
}
