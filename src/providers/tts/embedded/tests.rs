//! The embedded voices as programs that really run: sound, order, pace, and what is said when one is absent.

use std::time::Duration;

use futures_util::StreamExt;

use super::*;
use crate::providers::Language;
use crate::safety::said::clear;

fn request(text: &str, language: &str) -> SpeakRequest {
    SpeakRequest { text: clear(text), language: Language::parse(language).unwrap(), voice: None, rate: 1.0 }
}

fn tts(change: impl FnOnce(&mut EmbeddedConfig)) -> EmbeddedTts {
    let mut config = EmbeddedConfig::default();
    change(&mut config);
    EmbeddedTts::new(config).unwrap()
}

async fn spoken(tts: &EmbeddedTts, request: SpeakRequest) -> Result<Vec<i16>, ProviderError> {
    let mut stream = tts.speak(request).await?;
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk?.samples);
    }
    Ok(all)
}

fn loud(samples: &[i16]) -> bool {
    samples.iter().any(|s| s.unsigned_abs() > 500)
}

#[tokio::test]
async fn english_is_spoken_without_silence_around_it() {
    let audio = spoken(&tts(|_| {}), request("Welcome to the clinic.", "en")).await.unwrap();
    assert!((8_000..24_000).contains(&audio.len()), "{} samples", audio.len());
    assert!(loud(&audio[..1600]) && loud(&audio[audio.len() - 3200..]), "silence at an end");
}

#[tokio::test]
async fn other_languages_are_spoken_cold_and_warm_alike() {
    let tts = tts(|_| {});
    let cold = spoken(&tts, request("Bonjour, comment allez-vous ?", "fr-CA")).await.unwrap();
    let warm = spoken(&tts, request("Bonjour, comment allez-vous ?", "fr-CA")).await.unwrap();
    assert!(loud(&cold) && cold.len() > 8_000);
    assert_eq!(cold, warm);
}

#[tokio::test]
async fn sentences_of_one_text_follow_each_other() {
    let tts = tts(|_| {});
    let one = spoken(&tts, request("Good morning.", "en")).await.unwrap().len();
    let two = spoken(&tts, request("Good morning. Good morning.", "en")).await.unwrap().len();
    assert_eq!(two, 2 * one + 220 * SAMPLES_PER_MS);
}

#[tokio::test]
async fn english_words_are_told_with_their_times_across_pieces() {
    let text = "\u{201c}Thanks.\u{201d} It\u{2019}s open \u{2014} from nine, Monday.";
    for rate in [1.0, 1.5] {
        let mut stream = tts(|_| {}).speak(SpeakRequest { rate, ..request(text, "en") }).await.unwrap();
        let (mut samples, mut words) = (0, Vec::new());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.unwrap();
            samples += chunk.samples.len() as u64;
            words.extend(chunk.words);
        }
        let told: Vec<&str> = words.iter().map(|word| &text[word.text.clone()]).collect();
        assert_eq!(told, ["Thanks.", "It\u{2019}s", "open", "from", "nine,", "Monday."]);
        assert!(words.is_sorted_by(|a, b| a.samples.end <= b.samples.start), "{words:?}");
        let last = words[5].samples.end;
        assert!(last <= samples && samples - last < 2400, "{last} of {samples}");
        assert!(words[1].samples.start - words[0].samples.end >= 220 * 8, "the pause between the sentences");
    }
}

#[tokio::test]
async fn the_rate_changes_the_length() {
    let tts = tts(|_| {});
    for language in ["en", "de"] {
        let plain = request("Eins zwei drei vier sechs", language);
        let fast = SpeakRequest { rate: 1.6, ..plain.clone() };
        let (plain, fast) = (spoken(&tts, plain).await.unwrap().len(), spoken(&tts, fast).await.unwrap().len());
        assert!(fast * 10 < plain * 8, "{language}: {fast} against {plain}");
    }
}

#[tokio::test]
async fn english_falls_to_espeak_where_flite_is_absent() {
    let tts = tts(|c| c.flite.program = "no-such-flite".into());
    assert!(loud(&spoken(&tts, request("Hello there.", "en")).await.unwrap()));
    assert_eq!(tts.check().await, Ok(()));
}

#[tokio::test]
async fn an_absent_program_is_named_with_the_way_to_install_it() {
    let none = tts(|c| {
        c.flite.program = "no-such-flite".into();
        c.espeak.program = "no-such-espeak".into();
    });
    let error = spoken(&none, request("Hello.", "en")).await.unwrap_err().to_string();
    assert!(error.contains("no-such-flite") && error.contains("apt-get install flite espeak-ng"), "{error}");
    assert!(none.check().await.is_err());
    let no_espeak = tts(|c| c.espeak.program = "no-such-espeak".into());
    let error = spoken(&no_espeak, request("Hallo.", "de")).await.unwrap_err().to_string();
    assert!(error.contains("no-such-espeak") && error.contains("apt-get"), "{error}");
}

#[tokio::test]
async fn a_language_without_voice_and_a_bad_voice_name_are_errors() {
    let tts = tts(|_| {});
    let error = spoken(&tts, request("Muraho.", "rw")).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Program { what, .. } if what.contains("voice `rw`")), "{error}");
    let evil = SpeakRequest { voice: Some("../../etc/passwd".into()), ..request("Hallo.", "de") };
    assert!(spoken(&tts, evil).await.unwrap_err().to_string().contains("voice name"));
}

#[tokio::test]
async fn text_that_looks_like_options_is_only_text() {
    let tts = tts(|_| {});
    for text in ["-o /tmp/x", "--help", "$(reboot); `reboot`"] {
        for language in ["en", "de"] {
            assert!(loud(&spoken(&tts, request(text, language)).await.unwrap()), "{text} {language}");
        }
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_at_the_deadline() {
    let script = std::env::temp_dir().join(format!("offhook-hangs-{}", uuid::Uuid::now_v7().simple()));
    std::fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let tts = tts(|c| {
        c.espeak.program = script.to_string_lossy().into_owned();
        c.deadline_ms = 500;
    });
    let mut error = spoken(&tts, request("Hallo.", "de")).await.unwrap_err();
    // A child that another test is just starting may hold the fresh file open for writing, which makes it busy.
    for _ in 0..20 {
        if matches!(error, ProviderError::Timeout { .. }) {
            break;
        }
        error = spoken(&tts, request("Hallo.", "de")).await.unwrap_err();
    }
    std::fs::remove_file(&script).unwrap();
    assert!(matches!(error, ProviderError::Timeout { what: "audio from the program", .. }), "{error}");
}

#[tokio::test]
async fn dropping_the_stream_frees_the_slot() {
    let tts = tts(|c| c.concurrency = 1);
    let long = "This is quite a long sentence, which goes on and on. ".repeat(10);
    for _ in 0..3 {
        let mut stream = tts.speak(request(&long, "en")).await.unwrap();
        assert!(stream.next().await.is_some());
        drop(stream);
    }
    assert!(loud(&spoken(&tts, request("Next.", "en")).await.unwrap()));
}

#[tokio::test]
async fn slots_bound_the_programs_at_work() {
    let tts = tts(|c| {
        c.concurrency = 1;
        c.deadline_ms = 30;
    });
    let _held = Arc::clone(&tts.0.permits).acquire_owned().await.unwrap();
    let error = spoken(&tts, request("Hello.", "en")).await.unwrap_err();
    assert_eq!(
        error,
        ProviderError::Timeout { vendor: VENDOR, what: "free program slot", after: Duration::from_millis(30) }
    );
}

#[test]
fn only_flites_own_voices_are_named() {
    assert!(flite_voice("slt").is_ok());
    assert!(flite_voice("http://example.com/x.flitevox").is_err());
}

/// `cargo test -p offhook --release -- --ignored first_audio --nocapture` prints figures; it has no pass line, because
/// they belong to the machine.
#[tokio::test]
#[ignore = "measures, decides nothing"]
async fn first_audio_times() {
    let tts = tts(|_| {});
    let english =
        ["Welcome to the clinic.", "Please tell me your full name, your date of birth, and why you are calling today."];
    let other = ["Bonjour, comment allez-vous ?", "Veuillez me donner votre nom complet et votre date de naissance."];
    for (language, texts) in [("en", english), ("fr", other)] {
        for text in texts {
            let mut times = Vec::new();
            for _ in 0..30 {
                let begun = Instant::now();
                let mut stream = tts.speak(request(text, language)).await.unwrap();
                stream.next().await.unwrap().unwrap();
                times.push(begun.elapsed());
                while stream.next().await.is_some() {}
            }
            times.sort();
            eprintln!(
                "{language} {:3} characters: p50 {:?} p95 {:?} max {:?}",
                text.len(),
                times[15],
                times[28],
                times[29]
            );
        }
    }
}
