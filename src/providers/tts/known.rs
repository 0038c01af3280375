//! Names of voices by vendor, for people who want to compare some. Any other name that the vendor knows can be used as well.

use crate::providers::Language;

/// Voices of the vendor with this name that speak the language; empty where none are known by name.
pub fn voices(vendor: &str, language: &Language) -> Vec<String> {
    let primary = language.primary();
    match vendor {
        "embedded" => {
            let flite = ["slt", "rms", "awb", "kal"].map(str::to_owned);
            let tag = language.tag().to_ascii_lowercase();
            let espeak = [tag.clone(), format!("{tag}+f3"), format!("{tag}+m3")];
            flite.into_iter().filter(|_| primary == "en").chain(espeak).collect()
        }
        "deepgram" => {
            let known = match primary {
                "en" => &AURA_ENGLISH[..],
                "es" => &AURA_SPANISH[..],
                _ => &[],
            };
            known.iter().map(|name| format!("aura-2-{name}-{primary}")).collect()
        }
        "openai" => OPENAI.map(str::to_owned).to_vec(),
        _ => Vec::new(),
    }
}

/// Some of the Aura-2 voices (developers.deepgram.com, "TTS Models").
const AURA_ENGLISH: [&str; 8] = ["thalia", "andromeda", "helena", "apollo", "arcas", "aries", "asteria", "athena"];
const AURA_SPANISH: [&str; 4] = ["celeste", "estrella", "nestor", "sirio"];
/// Every language has the same ones (platform.openai.com, "Text to speech").
const OPENAI: [&str; 9] = ["alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer"];
