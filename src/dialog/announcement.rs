//! What callers hear before their call is answered: the key `early` of a line, as a text or `{sound: FILE}`.
//!
//! Deliberately absent: whether a transport can play it. One that cannot answers at once.

use std::sync::Arc;

use super::Utterance;
use super::flow::{Assets, Flow, Prompt, Settings};
use super::sound;
use super::yaml::{FlowError, Node};
use crate::providers::Language;
use crate::safety::said::Cleared;

/// Words or a sound, in the voice and language of the flow's first step. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Announcement {
    utterances: Arc<[Utterance]>,
    settings: Settings,
}

impl Announcement {
    /// These words, as the flow's first step would speak them; none where there is nothing to say or too much.
    pub fn spoken(text: &str, flow: &Flow) -> Option<Self> {
        let settings = flow.first_settings()?.clone();
        let prompt = Prompt::fixed_text(text);
        let sentence = |text| Utterance::Sentence { text, voice: settings.voice.clone(), rate: settings.rate };
        let utterances: Arc<[Utterance]> = prompt.fixed(&settings.language).map(sentence).collect();
        (!utterances.is_empty() && text.len() <= MAX_BYTES).then_some(Self { utterances, settings })
    }

    pub(super) fn read(node: &Node, flow: &Flow, assets: &dyn Assets) -> Result<Self, FlowError> {
        if node.is_text() {
            let wanted = || node.at.error(format!("words of at most {MAX_BYTES} bytes, or `sound`"));
            return Self::spoken(node.text()?, flow).ok_or_else(wanted);
        }
        let settings = flow.first_settings().cloned().ok_or_else(|| node.at.error("a flow with a step"))?;
        Ok(Self { utterances: [ready(node, assets)?].into(), settings })
    }

    pub fn utterances(&self) -> impl Iterator<Item = Utterance> + '_ {
        self.utterances.iter().cloned()
    }

    pub const fn language(&self) -> &Language {
        &self.settings.language
    }

    /// Its sentences, with the way they are spoken: worth making ahead of time.
    pub fn sentences(&self) -> impl Iterator<Item = (Cleared, &Settings)> {
        self.utterances.iter().filter_map(|utterance| match utterance {
            Utterance::Sentence { text, .. } => Some((text.clone(), &self.settings)),
            Utterance::Audio { .. } => None,
        })
    }
}

fn ready(node: &Node, assets: &dyn Assets) -> Result<Utterance, FlowError> {
    let mut fields = node.fields()?;
    let file = fields.need("sound", "a file of `sounds`")?;
    let failed = |what: String| file.at.error(what);
    let samples = sound::wav(&assets.sound(file.text()?).map_err(failed)?).map_err(failed)?;
    fields.finish("sound")?;
    Ok(Utterance::Audio { samples, words: None })
}

/// About half a minute of speech: networks give a call up that is not answered for long.
const MAX_BYTES: usize = 600;

#[cfg(test)]
mod tests {
    use super::super::flow::NoAssets;
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Announcement, String> {
        let flow = Flow::parse(
            "f",
            "name: f\nsteps:\n  a:\n    say: Hello.\n    goto: hangup\n    language: fr\n    rate: 1.2\n",
            &NoAssets,
        );
        let node = yaml::parse("l", text).and_then(|node| node.fields()).and_then(|mut all| all.need("early", "it"));
        Announcement::read(&node.unwrap(), &flow.unwrap(), &NoAssets).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_spoken_as_the_first_step_speaks() {
        let read = read("early: Bonjour. Cet appel est gratuit.").unwrap();
        assert_eq!(read.language().tag(), "fr");
        let said: Vec<_> = read.sentences().map(|(text, how)| (text.as_str().to_owned(), how.rate)).collect();
        assert_eq!(said, [("Bonjour.".to_owned(), 1.2), ("Cet appel est gratuit.".to_owned(), 1.2)]);
    }

    #[test]
    fn what_cannot_be_heard_is_an_error() {
        for wrong in ["early: \"\"", "early: {sound: none.wav}", "early: {sounds: x}", "early: []", "early: 7"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&format!("early: {}", "word ".repeat(200))).is_err());
    }
}
