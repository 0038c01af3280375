//! ElevenLabs over its HTTP API (elevenlabs.io/docs, "Stream speech with timing"): one POST for each sentence, answered by
//! JSON objects one after the other, each with a piece of 16 kHz PCM and the times of its characters.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use offhook_media::resample::Rate;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::pcm::PcmTo8k;
use super::streamed::{Deadlines, Decoder, speak_decoded};
use crate::providers::config::{ElevenLabsConfig, TtsConfig};
use crate::providers::http::{BaseUrl, client};
use crate::providers::{AudioStream, ProviderError, SpeakRequest, SpeechChunk, Tts, WordTime};

/// ElevenLabs voices.
pub struct ElevenLabsTts {
    client: Client,
    base: BaseUrl,
    key: HeaderValue,
    model: Arc<str>,
    voice: Arc<str>,
    stability: Option<f32>,
    deadlines: Deadlines,
}

impl ElevenLabsTts {
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &ElevenLabsConfig, tts: &TtsConfig) -> Result<Self, String> {
        let voice = tts.voice.as_deref().unwrap_or(&config.voice);
        if !is_voice_id(voice) {
            return Err(format!("elevenlabs.voice: `{voice}`, expected an id of letters and digits"));
        }
        if config.stability.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            return Err("elevenlabs.stability: expected 0.0 to 1.0".to_owned());
        }
        Ok(Self {
            client: client(config.connect_timeout())?,
            base: BaseUrl::parse("elevenlabs.base_url", &config.base_url, config.plain_http)?,
            key: config.key()?,
            model: config.model.as_str().into(),
            voice: voice.into(),
            stability: config.stability,
            deadlines: Deadlines { first_audio: tts.first_audio(), progress: tts.progress() },
        })
    }

    fn body(&self, request: &SpeakRequest) -> Value {
        // The vendor's own range.
        let mut settings = json!({ "speed": request.rate.clamp(0.7, 1.2) });
        if let (Some(stability), Some(fields)) = (self.stability, settings.as_object_mut()) {
            fields.insert("stability".to_owned(), json!(stability));
        }
        let mut body = json!({
            "text": request.text.as_str(), "model_id": &*self.model, "voice_settings": settings,
        });
        // Other models hear the language from the text, and refuse to be told.
        if self.model.ends_with("_v2_5")
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("language_code".to_owned(), json!(request.language.primary()));
        }
        body
    }
}

impl Tts for ElevenLabsTts {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        let voice = request.voice.as_deref().filter(|voice| is_voice_id(voice)).unwrap_or(&self.voice);
        let url = match self.base.http(&format!("text-to-speech/{voice}/stream/with-timestamps")) {
            Ok(url) => url,
            Err(what) => return ready(Err(ProviderError::NotConfigured { vendor: VENDOR, what })).boxed(),
        };
        let post = self
            .client
            .post(url)
            .query(&[("output_format", "pcm_16000")])
            .header("xi-api-key", self.key.clone())
            .json(&self.body(&request));
        let decoder = Timed::new(request.text.as_str());
        speak_decoded(VENDOR, post, decoder, &["text/", "audio/"], self.deadlines).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // A key is present by construction, and anything more would be a paid call.
        ready(Ok(())).boxed()
    }

    fn knows(&self, voice: &str) -> bool {
        is_voice_id(voice)
    }
}

/// Ids stand in the path of the address.
fn is_voice_id(voice: &str) -> bool {
    voice.len() >= 16 && voice.len() <= 64 && voice.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Reads the objects of one answer.
struct Timed {
    pcm: PcmTo8k,
    /// What is not a whole object yet.
    rest: Vec<u8>,
    /// Samples so far.
    made: u64,
    /// What was asked for, and how much of it has been told of, bytes.
    text: String,
    at: usize,
    /// When the last character that was told of ends, seconds.
    until: f64,
}

#[derive(Deserialize)]
struct Piece {
    audio_base64: Option<String>,
    alignment: Option<Alignment>,
    detail: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Alignment {
    characters: Vec<String>,
    character_start_times_seconds: Vec<f64>,
    character_end_times_seconds: Vec<f64>,
}

impl Timed {
    fn new(text: &str) -> Self {
        let pcm = PcmTo8k::new(Rate::Hz16000);
        Self { pcm, rest: Vec::new(), made: 0, text: text.to_owned(), at: 0, until: 0.0 }
    }

    fn take(&mut self, piece: Piece, whole: &mut (Vec<i16>, Vec<WordTime>)) -> Result<(), String> {
        if piece.detail.is_some() {
            return Err("error in the stream".to_owned());
        }
        if let Some(alignment) = piece.alignment {
            self.words(&alignment, &mut whole.1);
        }
        let audio = piece.audio_base64.unwrap_or_default();
        let bytes = STANDARD.decode(audio.as_bytes()).map_err(|_| "audio that is not base64".to_owned())?;
        let samples = self.pcm.push(&bytes);
        self.made += samples.len() as u64;
        whole.0.extend(samples);
        Ok(())
    }

    /// Characters as parts of words. Times count from the beginning of the utterance, or of the piece where they go back.
    fn words(&mut self, alignment: &Alignment, words: &mut Vec<WordTime>) {
        let first = alignment.character_start_times_seconds.first().copied().unwrap_or_default();
        let base = if first + BACK < self.until { self.made as f64 / RATE } else { 0.0 };
        let mut open: Option<WordTime> = None;
        let times = alignment.character_start_times_seconds.iter().zip(&alignment.character_end_times_seconds);
        for (character, (start, end)) in alignment.characters.iter().zip(times) {
            let here = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(character.as_str()));
            if !here || character.is_empty() {
                continue;
            }
            let (from, to) = (self.at, self.at + character.len());
            (self.at, self.until) = (to, base + end);
            if character.chars().all(char::is_whitespace) {
                words.extend(open.take());
                continue;
            }
            let sample = |seconds: f64| ((base + seconds).max(0.0) * RATE) as u64;
            let (start, end) = (sample(*start), sample(*end));
            match &mut open {
                Some(word) => (word.text.end, word.samples.end) = (to, end.max(word.samples.start)),
                None => open = Some(WordTime { text: from..to, samples: start..end.max(start) }),
            }
        }
        words.extend(open);
    }
}

impl Decoder for Timed {
    fn push(&mut self, bytes: &[u8]) -> Result<SpeechChunk, String> {
        if self.rest.len() + bytes.len() > LONGEST_OBJECT {
            return Err(format!("an object of over {LONGEST_OBJECT} bytes"));
        }
        self.rest.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.rest);
        let mut objects = serde_json::Deserializer::from_slice(&received).into_iter::<Piece>();
        let (mut whole, mut read) = ((Vec::new(), Vec::new()), 0);
        loop {
            match objects.next() {
                Some(Ok(piece)) => {
                    read = objects.byte_offset();
                    self.take(piece, &mut whole)?;
                }
                None => break,
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(error)) => return Err(format!("JSON at column {} ({:?})", error.column(), error.classify())),
            }
        }
        self.rest = received.get(read..).unwrap_or_default().to_vec();
        Ok(SpeechChunk { samples: whole.0.into(), words: whole.1, rejoins: None })
    }

    fn finish(self) -> Result<SpeechChunk, String> {
        if self.rest.iter().any(|byte| !byte.is_ascii_whitespace()) {
            return Err("the answer ended inside an object".to_owned());
        }
        self.pcm.finish().map(SpeechChunk::from).map_err(str::to_owned)
    }
}

const VENDOR: &str = "elevenlabs";
/// 8 kHz.
const RATE: f64 = 8000.0;
/// Seconds by which times may go back and still count from the beginning.
const BACK: f64 = 0.05;
/// About a minute of audio.
const LONGEST_OBJECT: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, from: f64, samples: usize) -> String {
        let characters: Vec<String> = text.chars().map(String::from).collect();
        let starts: Vec<f64> = (0..characters.len()).map(|n| from + n as f64 * 0.1).collect();
        let ends: Vec<f64> = starts.iter().map(|start| start + 0.1).collect();
        let audio = STANDARD.encode(vec![0; samples * 2]);
        json!({ "audio_base64": audio, "alignment": {
            "characters": characters, "character_start_times_seconds": starts, "character_end_times_seconds": ends,
        }})
        .to_string()
    }

    fn words(pieces: &[String], cut: usize) -> Vec<WordTime> {
        let mut timed = Timed::new("Open at nine.");
        let all = pieces.join("\n") + "\n";
        all.as_bytes().chunks(cut).flat_map(|part| timed.push(part).unwrap().words).collect()
    }

    #[test]
    fn words_are_where_their_characters_are_wherever_the_bytes_are_cut() {
        let told = [piece("Open at ni", 0.0, 16_000), piece("ne.", 1.0, 4800)];
        let found = words(&told, 1 << 20);
        let (open, at) = (WordTime { text: 0..4, samples: 0..3200 }, WordTime { text: 5..7, samples: 4000..5600 });
        let nine = [WordTime { text: 8..10, samples: 6400..8000 }, WordTime { text: 10..13, samples: 8000..10_400 }];
        assert_eq!(found, [open, at, nine[0].clone(), nine[1].clone()]);
        for cut in [1, 7, 100] {
            assert_eq!(words(&told, cut), found);
        }
        let from_each_piece = [piece("Open at ni", 0.0, 16_000), piece("ne.", 0.0, 4800)];
        let last = words(&from_each_piece, 1 << 20).pop().unwrap();
        // What the converter still holds is not counted: a few samples.
        assert!(last.samples.start.abs_diff(8000) < 40, "{last:?}");
    }

    #[test]
    fn what_is_no_piece_is_an_error() {
        let mut timed = Timed::new("a");
        assert!(timed.push(b"{\"audio_base64\": [oops").is_err());
        assert!(Timed::new("a").push(br#"{"audio_base64":"?"}"#).is_err());
        assert!(Timed::new("a").push(br#"{"detail":{"status":"quota_exceeded"}}"#).is_err());
        let mut timed = Timed::new("a");
        assert!(timed.push(br#"{"audio_base64":"#).is_ok());
        assert!(timed.finish().is_err());
    }
}
