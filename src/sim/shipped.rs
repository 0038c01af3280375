//! The scenarios and recordings that come with the program, so that it runs with nothing beside it.

/// The scenarios of the default mix: file name and text.
pub const SCENARIOS: &[(&str, &str)] = &[
    ("barge_in.yaml", include_str!("../../fixtures/scenarios/barge_in.yaml")),
    ("noise_burst.yaml", include_str!("../../fixtures/scenarios/noise_burst.yaml")),
    ("long_answer.yaml", include_str!("../../fixtures/scenarios/long_answer.yaml")),
    ("menu_by_key.yaml", include_str!("../../fixtures/scenarios/menu_by_key.yaml")),
    ("hang_up_mid_speech.yaml", include_str!("../../fixtures/scenarios/hang_up_mid_speech.yaml")),
];

/// Shipped scenarios that are no part of the mix.
pub const BY_NAME: &[(&str, &str)] = &[
    ("open_question.yaml", include_str!("../../fixtures/scenarios/open_question.yaml")),
    ("tutor.yaml", include_str!("../../fixtures/scenarios/tutor.yaml")),
    ("tutor-plain.yaml", include_str!("../../fixtures/scenarios/tutor-plain.yaml")),
    ("vendor-chaos.yaml", include_str!("../../fixtures/scenarios/vendor-chaos.yaml")),
    ("turn-taking.yaml", include_str!("../../fixtures/scenarios/turn-taking.yaml")),
    ("turn-taking-short.yaml", include_str!("../../fixtures/scenarios/turn-taking-short.yaml")),
];

/// The text of a shipped scenario by its file's name, with or without the extension.
pub fn scenario(name: &str) -> Option<(&'static str, &'static str)> {
    let all = SCENARIOS.iter().chain(BY_NAME).copied();
    all.into_iter().find(|(file, _)| *file == name || file.strip_suffix(".yaml") == Some(name))
}

/// A recording of a human voice that comes with the program.
pub struct ShippedRecording {
    /// As scenarios name it.
    pub name: &'static str,
    /// What the stand-in for a recogniser makes of it.
    pub words: &'static str,
    /// A WAVE file.
    pub wav: &'static [u8],
}

/// A shipped recording by the name that scenarios give it.
pub fn recording(name: &str) -> Option<&'static [u8]> {
    RECORDINGS.iter().find(|recording| recording.name == name).map(|recording| recording.wav)
}

macro_rules! human {
    ($($file:literal => $words:literal),* $(,)?) => {
        &[$(ShippedRecording {
            name: concat!("human/", $file),
            words: $words,
            wav: include_bytes!(concat!("../../fixtures/audio/human/", $file)),
        }),*]
    };
}

/// Every shipped recording.
pub const RECORDINGS: &[ShippedRecording] = human![
    "demo-nomatch.wav" => "can you tell me what to bring along",
    "from-unknown-caller.wav" => "an unknown caller",
    "goodbye.wav" => "goodbye",
    "hello.wav" => "hello",
    "im-sorry.wav" => "i'm sorry",
    "number-not-answering.wav" => "the number is not answering",
    "one.wav" => "one",
    "please-try-again.wav" => "please try again",
    "pls-hold-while-try.wav" => "please hold while i try",
    "to-call-this-number.wav" => "to call this number",
    "transfer.wav" => "please transfer my call",
    "vm-repeat.wav" => "could you repeat that message",
    "vm-tocallback.wav" => "can somebody call me back this afternoon",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::Recording;

    #[test]
    fn every_recording_has_its_labels_inside() {
        for ShippedRecording { name, wav, .. } in RECORDINGS {
            let recording = Recording::from_wav(name, wav).unwrap();
            let speech_ms = (recording.end - recording.onset) / 8;
            assert!((400..4000).contains(&speech_ms), "{name}: {speech_ms} ms");
            assert!(recording.onset >= 80 * 4, "{name}: no silence before the onset");
        }
    }
}
