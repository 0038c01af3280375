//! How well the words that a caller heard are known: by the voice's own word times, by an estimate from the audio, and by
//! letters alone, each against the words that were really played.

use futures_util::StreamExt as _;
use offhook::dialog::transcript::{Spoken, heard};
use offhook::providers::config::EmbeddedConfig;
use offhook::providers::timing::estimated;
use offhook::providers::tts::embedded::EmbeddedTts;
use offhook::providers::{Language, SpeakRequest, Tts as _, WordTime};
use offhook::safety::said::clear;

use crate::harness::{at, quantile, script};

const PROMPTS: [&str; 10] = [
    "Our opening hours are nine to five, Monday to Friday.",
    "Please tell me your full name, your date of birth, and why you are calling today.",
    "For sales, press two; for support, press three; or stay on the line and someone will be with you shortly.",
    "Thank you for calling the Riverside Clinic.",
    "The balance on your account is forty dollars, due on the first of next month.",
    "Could you spell that for me, one letter at a time?",
    "We have received your request, and a member of our team will call you back within the day.",
    "Unfortunately the office is closed at the moment.",
    "Let me check that for you, it will only take a few seconds.",
    "You can also visit our website, where you will find answers to the most common questions about payment.",
];

/// What the embedded English voice makes of a prompt, and the times that it tells.
async fn made(voice: &EmbeddedTts, text: &str) -> (Vec<i16>, Vec<WordTime>) {
    let request = SpeakRequest { text: clear(text), language: Language::default(), voice: None, rate: 1.0 };
    let mut stream = voice.speak(request).await.unwrap();
    let (mut audio, mut words) = (Vec::new(), Vec::new());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        audio.extend_from_slice(&chunk.samples);
        words.extend(chunk.words);
    }
    (audio, words)
}

fn words_heard(text: &str, times: &[WordTime], total: usize, played: usize) -> usize {
    let (total_samples, played_samples) = (Some(total as u64), played as u64);
    let spoken = Spoken { text, private: false, times, total_samples, played_samples };
    heard(&[spoken]).heard.split_whitespace().count()
}

#[tokio::test]
async fn words_are_known_by_estimate_to_one_and_by_times_exactly() {
    let voice = EmbeddedTts::new(EmbeddedConfig::default()).unwrap();
    let (mut by_letters, mut by_audio, mut by_audio_so_far) = (Vec::new(), Vec::new(), Vec::new());
    for text in PROMPTS {
        let (audio, told) = made(&voice, text).await;
        assert_eq!(told.len(), text.split_whitespace().count(), "the voice tells every word of `{text}`");
        let guessed = estimated(text, &audio);
        // Callers break in at any time: every 20 ms.
        for played in (0..audio.len()).step_by(160) {
            let middle = |time: &&WordTime| 2 * played as u64 >= time.samples.start + time.samples.end;
            let really = told.iter().take_while(middle).count();
            let error = |count: usize| count.abs_diff(really) as f64;
            assert_eq!(words_heard(text, &told, audio.len(), played), really, "{played} samples of `{text}`");
            by_letters.push(error(words_heard(text, &[], audio.len(), played)));
            by_audio.push(error(words_heard(text, &guessed, audio.len(), played)));
            let (text, played_samples) = (text, played as u64);
            let making = Spoken { text, private: false, times: &[], total_samples: None, played_samples };
            by_audio_so_far.push(error(heard(&[making]).heard.split_whitespace().count()));
        }
    }
    for (name, errors) in
        [("letters", &mut by_letters), ("audio", &mut by_audio), ("audio not whole yet", &mut by_audio_so_far)]
    {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let wrong = [0.0, 1.0, 2.0].map(|least| errors.iter().filter(|error| **error > least).count());
        let figures = [0.5, 0.95, 0.99, 1.0].map(|share| quantile(errors, share));
        println!(
            "{name}: words off at {} cuts: mean {mean:.2}, p50 {}, p95 {}, p99 {}, max {}; more than 0, 1, 2: {wrong:?}",
            errors.len(),
            figures[0],
            figures[1],
            figures[2],
            figures[3]
        );
    }
    assert_eq!([0.5, 0.95].map(|share| quantile(&mut by_audio, share)), [0.0, 1.0]);
    assert!(by_audio.iter().sum::<f64>() <= by_letters.iter().sum::<f64>(), "the audio tells more than the letters");
}

#[test]
fn the_beginning_of_a_very_long_answer_is_not_forgotten() {
    let sentences: Vec<String> = (10..50).map(|n| format!("Word{n}.")).collect();
    let flow = format!("name: long\nsteps:\n  all:\n    say: [{}]\n    goto: hangup\n", sentences.join(", "));
    let call = script("long").flow(&flow).run(at(60.0));
    let (_, turn) = call.turns.first().unwrap_or_else(|| panic!("{}", call.story()));
    let heard = turn.heard.as_ref().unwrap().expose();
    assert!(heard.starts_with("Word10. Word11.") && heard.contains("Word49."), "{heard}");
}
