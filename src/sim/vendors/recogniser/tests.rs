//! The recogniser of the stand-ins must know good audio from broken audio, or a broken line would pass its tests.

use super::*;
use crate::sim::vendors::speech::Speech;

const TEXTS: [&str; 5] = [
    "yes please",
    "i would like to book an appointment",
    "what are your opening hours",
    "please transfer me to a nurse",
    "my name is ada lovelace",
];

fn settings() -> Settings {
    Settings {
        endpointing: Duration::from_millis(300),
        utterance_end: Some(Duration::from_secs(1)),
        interim_every: Duration::from_millis(300),
    }
}

fn recogniser() -> Recogniser {
    let utterance = |text: &str| Utterance { text: text.to_owned(), samples: Speech::whole(text, 8000).into() };
    Recogniser::new(Arc::new(Dictionary::new(TEXTS.map(utterance).to_vec())), settings())
}

fn silence(ms: usize) -> Vec<i16> {
    vec![0; ms * 8]
}

/// As a caller sends it: 20 ms at a time through mu-law.
fn hear(recogniser: &mut Recogniser, samples: &[i16]) -> Vec<Heard> {
    use offhook_media::g711::G711;
    let mut heard = Vec::new();
    for frame in samples.chunks(160) {
        let (mut octets, mut pcm) = ([0; 160], [0; 160]);
        G711::Ulaw.encode(frame, &mut octets);
        G711::Ulaw.decode(&octets, &mut pcm);
        heard.extend(recogniser.hear(&pcm[..frame.len()]));
    }
    heard
}

fn finals(heard: &[Heard]) -> Vec<String> {
    let text = |h: &Heard| match h {
        Heard::Final { hypothesis, .. } if !hypothesis.words.is_empty() => Some(hypothesis.text()),
        _ => None,
    };
    heard.iter().filter_map(text).collect()
}

#[test]
fn each_utterance_is_recognised_with_times_and_an_end() {
    for text in TEXTS {
        let mut recogniser = recogniser();
        let mut audio = silence(700);
        audio.extend(Speech::whole(text, 8000));
        audio.extend(silence(1500));
        let heard = hear(&mut recogniser, &audio);
        assert_eq!(finals(&heard), [text]);
        let found = heard.iter().find_map(|h| match h {
            Heard::Final { hypothesis, speech_final: true } => Some(hypothesis.clone()),
            _ => None,
        });
        let found = found.unwrap();
        assert!(found.confidence > 0.9, "{text}: {}", found.confidence);
        assert!(found.words[0].start.as_millis().abs_diff(700) < 40, "{text}: {:?}", found.words[0]);
        assert!(matches!(heard.last(), Some(Heard::UtteranceEnd { .. }) | Some(Heard::Final { .. })));
        assert_eq!(heard.iter().filter(|h| matches!(h, Heard::UtteranceEnd { .. })).count(), 1);
    }
}

#[test]
fn interims_grow_towards_the_text() {
    let text = TEXTS[1];
    let heard = hear(&mut recogniser(), &Speech::whole(text, 8000));
    let interims: Vec<String> = heard
        .iter()
        .filter_map(|h| match h {
            Heard::Interim(hypothesis) => Some(hypothesis.text()),
            _ => None,
        })
        .collect();
    assert!(interims.len() >= 5, "{interims:?}");
    assert!(interims.iter().all(|interim| text.starts_with(interim.as_str())), "{interims:?}");
    assert!(interims.iter().filter(|i| !i.is_empty()).count() >= interims.len() - 2, "{interims:?}");
}

#[test]
fn quieter_and_noisier_audio_is_still_recognised() {
    let mut noise = 1u32;
    let mut audio: Vec<i16> = Speech::whole(TEXTS[2], 8000)
        .into_iter()
        .map(|s| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            s / 3 + i16::try_from(noise >> 26).unwrap()
        })
        .collect();
    audio.extend(silence(500));
    assert_eq!(finals(&hear(&mut recogniser(), &audio)), [TEXTS[2]]);
}

#[test]
fn a_few_lost_frames_do_not_matter_and_many_do() {
    let audio = Speech::whole(TEXTS[3], 8000);
    let with_loss = |every: usize, lost: usize| {
        let keep =
            |(index, frame): (usize, &[i16])| if index % every < lost { vec![0; frame.len()] } else { frame.to_vec() };
        let mut audio: Vec<i16> = audio.chunks(160).enumerate().flat_map(keep).collect();
        audio.extend(silence(500));
        finals(&hear(&mut recogniser(), &audio))
    };
    assert_eq!(with_loss(30, 1), [TEXTS[3]]);
    assert_eq!(with_loss(2, 1), Vec::<String>::new());
}

#[test]
fn foreign_garbled_and_silent_audio_has_no_words() {
    let foreign = Speech::whole("completely different words are spoken here", 8000);
    let known = Speech::whole(TEXTS[1], 8000);
    let mut shuffled: Vec<&[i16]> = known.chunks(800).collect();
    shuffled.reverse();
    for mut audio in [foreign, shuffled.concat(), silence(3000)] {
        audio.extend(silence(500));
        assert_eq!(finals(&hear(&mut recogniser(), &audio)), Vec::<String>::new());
    }
}

#[test]
fn silence_is_told_as_empty_finals() {
    let heard = hear(&mut recogniser(), &silence(3500));
    let empty =
        |h: &Heard| matches!(h, Heard::Final { hypothesis, speech_final: false } if hypothesis.words.is_empty());
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(empty));
}

#[test]
fn a_flush_makes_the_rest_final() {
    let mut recogniser = recogniser();
    hear(&mut recogniser, &Speech::whole(TEXTS[0], 8000));
    assert_eq!(finals(&recogniser.flush()), [TEXTS[0]]);
    assert!(recogniser.flush().is_empty());
}

/// The embedded English voice, as callers in scenarios use it.
async fn flite(text: &str) -> Vec<i16> {
    use futures_util::StreamExt;

    use crate::providers::config::EmbeddedConfig;
    use crate::providers::tts::embedded::EmbeddedTts;
    use crate::providers::{Language, SpeakRequest, Tts};

    let tts = EmbeddedTts::new(EmbeddedConfig::default()).unwrap();
    let text = crate::safety::said::clear(text);
    let stream = tts.speak(SpeakRequest { text, language: Language::default(), voice: None, rate: 1.0 }).await.unwrap();
    let chunks: Vec<_> = stream.map(Result::unwrap).collect().await;
    chunks.iter().flat_map(|chunk| chunk.samples.iter().copied()).collect()
}

#[tokio::test]
async fn real_speech_is_told_apart_too() {
    let known =
        ["stop", "yes please", "what are your opening hours", "i need to speak to a nurse", "no thank you goodbye"];
    let mut utterances = Vec::new();
    for text in known {
        utterances.push(Utterance { text: text.to_owned(), samples: flite(text).await.into() });
    }
    let dictionary = Arc::new(Dictionary::new(utterances.clone()));
    let recognised = |mut samples: Vec<i16>| {
        samples.resize(samples.len() + 4000, 0);
        finals(&hear(&mut Recogniser::new(Arc::clone(&dictionary), settings()), &samples)).join(" ")
    };
    for utterance in &utterances {
        let mut shifted = silence(333);
        shifted.extend([0; 37]);
        shifted.extend(utterance.samples.iter().map(|s| s / 2));
        assert_eq!(recognised(shifted), utterance.text);
    }
    for foreign in ["where is the parking lot", "my insurance number has changed", "goodbye"] {
        let words = recognised(flite(foreign).await);
        assert!(words.is_empty() || foreign.ends_with(&words), "{foreign}: {words}");
    }
}
