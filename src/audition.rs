//! Voices to be compared: each says the same sentences, as callers would hear them (8 kHz), into a directory with a page that
//! plays them side by side and says how long each took.
//!
//! Deliberately absent: a judgement. Ears choose voices.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use offhook_media::resample::Rate;
use offhook_media::wav::write_mono;

use crate::clock;
use crate::providers::tts::known::voices;
use crate::providers::{Language, ProviderError, Ranked, SpeakRequest, Tts};
use crate::safety::said::clear;

/// What is to be heard.
#[derive(Clone, Debug)]
pub struct Audition {
    pub language: Language,
    /// Empty: a few sentences of a line's daily life.
    pub sentences: Vec<String>,
    /// Empty: those that are known by name.
    pub voices: Vec<String>,
    pub out: PathBuf,
}

/// One voice that said one sentence, or why it did not.
struct Take {
    voice: String,
    vendor: &'static str,
    sentence: usize,
    said: Result<Said, ProviderError>,
}

struct Said {
    file: String,
    samples: Vec<i16>,
    first_audio: Duration,
    whole: Duration,
}

impl Audition {
    /// Has all of them speak, one after the other so that their times can be compared; gives the page.
    ///
    /// # Errors
    /// When the directory cannot be written, or no voice said anything.
    pub async fn hold(&self, chain: &[Ranked<dyn Tts>]) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let sentences = self.sentences();
        let mut takes = Vec::new();
        for Ranked { vendor: tts, .. } in chain {
            for voice in self.voices_of(tts.name()) {
                for (number, sentence) in sentences.iter().enumerate() {
                    takes.push(self.take(tts.as_ref(), voice.as_deref(), number, sentence).await);
                }
            }
        }
        anyhow::ensure!(takes.iter().any(|take| take.said.is_ok()), "no voice said anything: {}", reasons(&takes));
        for said in takes.iter().filter_map(|take| take.said.as_ref().ok()) {
            let path = self.out.join(&said.file);
            let wav = write_mono(Rate::Hz8000, &said.samples)?;
            std::fs::write(&path, wav).with_context(|| path.display().to_string())?;
        }
        let path = self.out.join("index.html");
        std::fs::write(&path, page(&sentences, &takes)).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn sentences(&self) -> Vec<String> {
        if self.sentences.is_empty() { SENTENCES.map(str::to_owned).to_vec() } else { self.sentences.clone() }
    }

    /// `None` is the one that configuration chooses.
    fn voices_of(&self, vendor: &str) -> Vec<Option<String>> {
        let named = if self.voices.is_empty() { voices(vendor, &self.language) } else { self.voices.clone() };
        let configured = self.voices.is_empty().then_some(None);
        configured.into_iter().chain(named.into_iter().map(Some)).collect()
    }

    async fn take(&self, tts: &dyn Tts, voice: Option<&str>, number: usize, sentence: &str) -> Take {
        let request = SpeakRequest {
            text: clear(sentence),
            language: self.language.clone(),
            voice: voice.map(Arc::from),
            rate: 1.0,
        };
        let name = voice.unwrap_or("as configured");
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let file = format!("{}-{plain}-{}.wav", tts.name(), number + 1);
        let said = said(tts, request, file).await;
        Take { voice: name.to_owned(), vendor: tts.name(), sentence: number, said }
    }
}

async fn said(tts: &dyn Tts, request: SpeakRequest, file: String) -> Result<Said, ProviderError> {
    let begun = clock::now();
    let mut stream = tts.speak(request).await?;
    let (mut samples, mut first_audio) = (Vec::new(), None);
    while let Some(chunk) = stream.next().await {
        samples.extend_from_slice(&chunk?.samples);
        if !samples.is_empty() {
            first_audio.get_or_insert_with(|| clock::now() - begun);
        }
    }
    let whole = clock::now() - begun;
    Ok(Said { file, samples, first_audio: first_audio.unwrap_or(whole), whole })
}

fn reasons(takes: &[Take]) -> String {
    let mut told: Vec<String> =
        takes.iter().filter_map(|take| take.said.as_ref().err()).map(ToString::to_string).collect();
    told.dedup();
    told.join("; ")
}

fn page(sentences: &[String], takes: &[Take]) -> String {
    let mut rows = String::new();
    for (number, sentence) in sentences.iter().enumerate() {
        let _ = write!(rows, "<tbody><tr><th colspan=\"6\" scope=\"rowgroup\">{}</th></tr>", escaped(sentence));
        takes.iter().filter(|take| take.sentence == number).for_each(|take| rows += &row(take));
        rows += "</tbody>\n";
    }
    include_str!("audition.html").replace("{{rows}}", &rows)
}

fn row(take: &Take) -> String {
    let head = format!("<tr><td>{}</td><td>{}</td>", escaped(take.vendor), escaped(&take.voice));
    match &take.said {
        Err(error) => format!("{head}<td colspan=\"4\" class=\"failed\">{}</td></tr>\n", escaped(&error.to_string())),
        Ok(said) => format!(
            "{head}<td><audio controls preload=\"none\" src=\"{}\"></audio></td><td>{:.1} s</td><td>{} ms</td>\
             <td>{} ms</td></tr>\n",
            said.file,
            said.samples.len() as f64 / 8000.0,
            said.first_audio.as_millis(),
            said.whole.as_millis(),
        ),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A greeting, a question with figures, and something long.
const SENTENCES: [&str; 3] = [
    "Hello, this is the school's tutoring line. What would you like to practise today?",
    "Is your appointment on Tuesday the 14th at half past nine?",
    "I did not quite catch that. You can say it again in your own words, or press one for the front desk.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::config::{ProvidersConfig, build};

    fn audition(voices: &[&str], out: &str) -> Audition {
        Audition {
            language: Language::default(),
            sentences: vec!["Is this \"your\" number? Please say yes or no.".to_owned()],
            voices: voices.iter().map(|&voice| voice.to_owned()).collect(),
            out: std::env::temp_dir().join(format!("offhook-{out}-{}", std::process::id())),
        }
    }

    #[tokio::test]
    async fn each_voice_says_each_sentence_and_one_that_cannot_says_why() {
        let chain = build(&ProvidersConfig::default()).unwrap().tts;
        let audition = audition(&["slt", "en-us", "no such voice"], "audition");
        let page = audition.hold(&chain).await.unwrap();
        let html = std::fs::read_to_string(&page).unwrap();
        assert_eq!(html.matches("<audio").count(), 2, "{html}");
        assert_eq!(html.matches("class=\"failed\"").count(), 1, "{html}");
        assert!(html.contains("Is this &quot;your&quot; number?"));
        for file in ["embedded-slt-1.wav", "embedded-en-us-1.wav"] {
            let wav = std::fs::read(audition.out.join(file)).unwrap();
            let heard = offhook_media::wav::Wav::parse(&wav).unwrap().samples;
            assert!(heard.len() > 8000 && heard.iter().any(|sample| sample.unsigned_abs() > 2000), "{file}");
        }
        std::fs::remove_dir_all(&audition.out).unwrap();
    }

    #[tokio::test]
    async fn voices_that_are_not_there_fail_with_their_reason() {
        let chain = build(&ProvidersConfig::default()).unwrap().tts;
        let audition = audition(&["no such voice"], "audition-none");
        let error = audition.hold(&chain).await.unwrap_err().to_string();
        assert!(error.starts_with("no voice said anything: embedded: "), "{error}");
        std::fs::remove_dir_all(&audition.out).unwrap();
    }
}
