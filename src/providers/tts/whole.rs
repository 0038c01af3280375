//! An utterance that ends far too soon for its text has broken off, whatever its vendor says: where an answer has no length on
//! the wire, a connection that is lost looks like its end.

use futures_util::stream::{self, StreamExt};

use crate::providers::http::protocol;
use crate::providers::timing::{USUAL_PACE, words};
use crate::providers::{AudioStream, SpeakRequest};

/// The samples below which an utterance cannot be whole; 0 where the text is too short to tell.
pub(in crate::providers) fn least_samples(request: &SpeakRequest) -> u64 {
    let weight: u64 = words(request.text.as_str()).iter().map(|word| word.letters).sum();
    let usual = (weight * USUAL_PACE) as f64 / f64::from(request.rate.clamp(0.5, 2.0));
    if weight < ENOUGH_TO_TELL { 0 } else { (usual * LEAST) as u64 }
}

/// The same utterance; one of fewer than `least` samples ends with an error.
pub(in crate::providers) fn whole(vendor: &'static str, audio: AudioStream, least: u64) -> AudioStream {
    let state = (audio, 0_u64, false);
    let next = move |(mut audio, mut got, over): (AudioStream, u64, bool)| async move {
        if over {
            return None;
        }
        match audio.next().await {
            Some(piece) => {
                got += piece.as_ref().map_or(0, |chunk| chunk.samples.len() as u64);
                let over = piece.is_err();
                Some((piece, (audio, got, over)))
            }
            None if got > 0 && got < least => {
                let error = protocol(vendor, format!("{got} samples, at least {least} expected"));
                Some((Err(error), (audio, got, true)))
            }
            None => None,
        }
    };
    stream::unfold(state, next).boxed()
}

/// Letters; a figure counts as four.
const ENOUGH_TO_TELL: u64 = 16;
/// Of the usual length: nobody speaks three times as fast.
const LEAST: f64 = 0.33;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{Language, SpeechChunk};
    use crate::safety::said::clear;

    async fn ends_well(text: &str, samples: usize) -> bool {
        let request = SpeakRequest { text: clear(text), language: Language::default(), voice: None, rate: 1.0 };
        let audio = stream::iter([Ok(SpeechChunk::from(vec![1; samples]))]).boxed();
        let all: Vec<_> = whole("x", audio, least_samples(&request)).collect().await;
        all.iter().all(Result::is_ok)
    }

    #[tokio::test]
    async fn what_is_far_too_short_has_broken_off() {
        let text = "we open at eight in the morning";
        assert!(!ends_well(text, 4500).await);
        assert!(ends_well(text, 5000).await);
        assert!(ends_well("yes", 10).await, "too short to tell");
        assert!(ends_well(text, 0).await, "an answer without audio is told by its vendor");
    }
}
