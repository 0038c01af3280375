//! Against a small file of weights that is made here: it is loaded and run as a large one is.

mod weights;

use std::path::Path;

use offhook_media::FRAME;
use offhook_media::wav::Wav;

use super::*;
use crate::providers::{Language, frame_queue};

/// Writes a file of weights into a directory of the test's own.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("offhook-whisper-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("weights.bin"), bytes).unwrap();
    dir.join("weights.bin")
}

fn whisper(path: &Path, deadline_ms: u64) -> Result<WhisperStt, String> {
    let config =
        WhisperConfig { model: path.display().to_string(), threads: 1, deadline_ms, ..WhisperConfig::default() };
    WhisperStt::new(&config, &ModelsConfig::default(), &SttConfig::default())
}

/// Says "I'm sorry" to it and gives what comes.
async fn hears(whisper: &WhisperStt) -> Vec<SttEvent> {
    let word = format!("{}/fixtures/audio/human/im-sorry.wav", env!("CARGO_MANIFEST_DIR"));
    let word = Wav::parse(&std::fs::read(word).unwrap()).unwrap().samples;
    let audio = [vec![0; 8000], word, vec![0; 8000]].concat();
    let (mut sender, audio_of_call) = frame_queue(audio.len() / FRAME + 1);
    audio.as_chunks::<FRAME>().0.iter().for_each(|frame| sender.push_or_drop(*frame));
    drop(sender);
    let request = ListenRequest { language: Language::default(), hints: Vec::new(), audio: audio_of_call };
    let mut events = whisper.listen(request).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        told.push(event);
    }
    told
}

#[tokio::test]
async fn the_words_of_a_stretch_come_when_it_has_ended() {
    let path = file("words", &weights::file());
    let whisper = whisper(&path, 60_000).unwrap();
    assert_eq!(whisper.check().await, Ok(()));
    let told = hears(&whisper).await;
    let [SttEvent::Final(heard), SttEvent::SpeechEnded] = &told[..] else { panic!("{told:?}") };
    assert_eq!(heard.text.expose(), weights::WORD.trim());
    assert!(heard.confidence > 0.9, "{}", heard.confidence);
    assert!(heard.start >= Duration::from_millis(800) && heard.start < heard.end, "{heard:?}");
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_named_and_ends_nothing_but_the_check() {
    let whole = weights::file();
    let path = file("cut", &whole[..whole.len() / 2]);
    let error = whisper(&path, 60_000).unwrap().check().await.unwrap_err().to_string();
    assert!(error.contains("weights.bin holds no weights"), "{error}");
    std::fs::write(&path, &whole[..20]).unwrap();
    let error = whisper(&path, 60_000).err().unwrap();
    assert!(error.starts_with("whisper.model: ") && error.contains("shorter than"), "{error}");
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn words_that_take_too_long_are_not_waited_for() {
    let path = file("late", &weights::file());
    let told = hears(&whisper(&path, 1).unwrap()).await;
    assert_eq!(told, [SttEvent::SpeechEnded]);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn what_is_not_there_is_said_with_how_to_get_it() {
    let dir = file("absent", &[]).parent().unwrap().to_owned();
    let models = ModelsConfig { dir: dir.clone(), ..ModelsConfig::default() };
    let new = |config: &WhisperConfig| WhisperStt::new(config, &models, &SttConfig::default()).err().unwrap();
    let error = new(&WhisperConfig::default());
    assert!(error.contains("offhook models fetch whisper-base.en"), "{error}");
    std::fs::write(dir.join("ggml-base.en.bin"), "short").unwrap();
    let error = new(&WhisperConfig::default());
    assert!(error.contains("5 bytes, expected 147964211"), "{error}");
    let error = new(&WhisperConfig { model: "whisper-huge".to_owned(), ..WhisperConfig::default() });
    assert!(error.starts_with("whisper.model: no model is called"), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}
