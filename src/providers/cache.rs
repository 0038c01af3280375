//! Speech that was made once is not made again: a cache by content, bounded in bytes, in front of one voice.
//!
//! Only audio that came to its end and is long enough for its text is kept, and none of what callers were asked for in confidence. The cache lives in memory and dies with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::tts::whole::{least_samples, whole};
use super::{AudioStream, Language, ProviderError, SpeakRequest, SpeechChunk, Tts, WordTime};

/// A voice with a memory.
#[derive(Clone)]
pub struct CachedTts {
    inner: Arc<dyn Tts>,
    shelf: Arc<Mutex<Shelf>>,
}

impl CachedTts {
    /// Keeps at most `bytes` of audio (16 000 a second, its word times included); the least recently used goes first.
    pub fn new(inner: Arc<dyn Tts>, bytes: usize) -> Self {
        Self { inner, shelf: Arc::new(Mutex::new(Shelf::new(bytes))) }
    }

    /// Bytes of audio kept now.
    pub fn bytes(&self) -> usize {
        self.shelf.lock().bytes
    }
}

impl Tts for CachedTts {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    /// A hit is one chunk, at once.
    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        if request.text.is_private() {
            return self.inner.speak(request);
        }
        let key = Key::of(self.inner.name(), &request);
        if let Some(audio) = self.shelf.lock().fetch(&key) {
            return futures_util::future::ready(Ok(stream::iter([Ok(audio)]).boxed())).boxed();
        }
        let (vendor, shelf) = (self.inner.name(), Arc::clone(&self.shelf));
        let (least, made) = (least_samples(&request), self.inner.speak(request));
        async move {
            let copy = Copy { stream: whole(vendor, made.await?, least), kept: Some(Kept::default()), key, shelf };
            Ok(stream::unfold(copy, Copy::next).boxed())
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.inner.check()
    }

    fn speaks(&self, language: &Language) -> bool {
        self.inner.speaks(language)
    }

    fn knows(&self, voice: &str) -> bool {
        self.inner.knows(voice)
    }

    fn ready(&self, request: &SpeakRequest) -> Option<SpeechChunk> {
        let key = Key::of(self.inner.name(), request);
        self.shelf.lock().fetch(&key).filter(|_| !request.text.is_private())
    }
}

/// Passes a stream on and keeps a copy of it.
struct Copy {
    stream: AudioStream,
    /// None when it is not worth keeping: it failed or is too long.
    kept: Option<Kept>,
    key: Key,
    shelf: Arc<Mutex<Shelf>>,
}

/// What has come of an utterance.
#[derive(Default)]
struct Kept {
    samples: Vec<i16>,
    words: Vec<WordTime>,
}

impl Copy {
    async fn next(mut self) -> Option<(Result<SpeechChunk, ProviderError>, Self)> {
        let Some(item) = self.stream.next().await else {
            if let Some(kept) = self.kept.take().filter(|kept| !kept.samples.is_empty()) {
                let whole = SpeechChunk { samples: kept.samples.into(), words: kept.words, rejoins: None };
                self.shelf.lock().keep(self.key, whole);
            }
            return None;
        };
        let most = self.shelf.lock().largest();
        self.kept = match (self.kept.take(), &item) {
            (Some(mut kept), Ok(chunk)) if (kept.samples.len() + chunk.samples.len()) * BYTES <= most => {
                kept.samples.extend_from_slice(&chunk.samples);
                kept.words.extend_from_slice(&chunk.words);
                Some(kept)
            }
            _ => None,
        };
        Some((item, self))
    }
}

/// The hash of all that decides how a request sounds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key([u8; 32]);

impl Key {
    fn of(provider: &str, request: &SpeakRequest) -> Self {
        let mut hash = Sha256::new();
        let voice = request.voice.as_deref();
        for part in [provider, request.text.as_str(), request.language.tag(), voice.unwrap_or_default()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.update([u8::from(voice.is_some())]);
        hash.update(request.rate.to_bits().to_le_bytes());
        Self(hash.finalize().into())
    }
}

struct Shelf {
    most: usize,
    bytes: usize,
    clock: u64,
    kept: HashMap<Key, (SpeechChunk, u64)>,
    /// Keys by time of last use.
    order: BTreeMap<u64, Key>,
}

impl Shelf {
    fn new(most: usize) -> Self {
        Self { most, bytes: 0, clock: 0, kept: HashMap::new(), order: BTreeMap::new() }
    }

    /// One utterance may not push out all others.
    fn largest(&self) -> usize {
        self.most / 4
    }

    fn fetch(&mut self, key: &Key) -> Option<SpeechChunk> {
        let (audio, used) = self.kept.get_mut(key)?;
        self.clock += 1;
        self.order.remove(used);
        *used = self.clock;
        self.order.insert(self.clock, *key);
        Some(audio.clone())
    }

    fn keep(&mut self, key: Key, audio: SpeechChunk) {
        let size = size(&audio);
        if size > self.largest() {
            return;
        }
        self.forget(&key);
        while self.bytes + size > self.most
            && let Some((_, oldest)) = self.order.first_key_value().map(|(used, key)| (*used, *key))
        {
            self.forget(&oldest);
        }
        self.clock += 1;
        self.bytes += size;
        self.kept.insert(key, (audio, self.clock));
        self.order.insert(self.clock, key);
    }

    fn forget(&mut self, key: &Key) {
        if let Some((audio, used)) = self.kept.remove(key) {
            self.order.remove(&used);
            self.bytes -= size(&audio);
        }
    }
}

fn size(audio: &SpeechChunk) -> usize {
    audio.samples.len() * BYTES + audio.words.len() * size_of::<WordTime>()
}

const BYTES: usize = size_of::<i16>();

#[cfg(test)]
mod tests {
    use futures_util::future::ready;
    use proptest::prelude::*;

    use super::*;
    use crate::safety::said::clear;

    /// Says each request in three chunks of `length` samples, or breaks off after two.
    struct Counting {
        length: usize,
        breaks: bool,
        timed: bool,
        calls: Mutex<u32>,
    }

    impl Counting {
        fn new(length: usize, breaks: bool) -> Arc<Self> {
            Arc::new(Self { length, breaks, timed: false, calls: Mutex::new(0) })
        }
    }

    impl Tts for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn speak(&self, _: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
            *self.calls.lock() += 1;
            let word = WordTime { text: 0..5, samples: 0..self.length as u64 };
            let words = if self.timed { vec![word] } else { Vec::new() };
            let chunk = SpeechChunk { samples: vec![1; self.length].into(), words, rejoins: None };
            let last =
                if self.breaks { Err(ProviderError::Status { vendor: "x", status: 500 }) } else { Ok(chunk.clone()) };
            ready(Ok(stream::iter([Ok(chunk.clone()), Ok(chunk), last]).boxed())).boxed()
        }

        fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
            ready(Ok(())).boxed()
        }
    }

    fn request(text: &str) -> SpeakRequest {
        SpeakRequest { text: clear(text), language: Language::default(), voice: None, rate: 1.0 }
    }

    async fn chunks(tts: &CachedTts, request: SpeakRequest) -> Vec<usize> {
        let stream = tts.speak(request).await.unwrap();
        stream.map(|chunk| chunk.map_or(0, |c| c.samples.len())).collect().await
    }

    #[tokio::test]
    async fn a_hit_is_the_whole_utterance_at_once() {
        let voice = Counting::new(100, false);
        let tts = CachedTts::new(voice.clone(), 1 << 20);
        assert_eq!(chunks(&tts, request("hello")).await, [100, 100, 100]);
        assert_eq!(chunks(&tts, request("hello")).await, [300]);
        assert_eq!((*voice.calls.lock(), tts.bytes()), (1, 600));
    }

    #[tokio::test]
    async fn a_hit_brings_the_times_of_its_words() {
        let voice = Counting { length: 100, breaks: false, timed: true, calls: Mutex::new(0) };
        let tts = CachedTts::new(Arc::new(voice), 1 << 20);
        chunks(&tts, request("hello")).await;
        let mut hit = tts.speak(request("hello")).await.unwrap();
        let words = hit.next().await.unwrap().unwrap().words;
        assert_eq!(words, vec![WordTime { text: 0..5, samples: 0..100 }; 3]);
        assert_eq!(tts.bytes(), 600 + 3 * size_of::<WordTime>());
    }

    #[tokio::test]
    async fn all_that_is_heard_makes_the_key() {
        let voice = Counting::new(1, false);
        let tts = CachedTts::new(voice.clone(), 1 << 20);
        let other = |language: &str| SpeakRequest { language: Language::parse(language).unwrap(), ..request("a") };
        for request in [
            request("a"),
            request("b"),
            other("fr"),
            SpeakRequest { voice: Some("".into()), ..request("a") },
            SpeakRequest { voice: Some("v".into()), ..request("a") },
            SpeakRequest { rate: 1.1, ..request("a") },
        ] {
            assert_eq!(chunks(&tts, request).await.len(), 3);
        }
    }

    #[tokio::test]
    async fn broken_dropped_and_oversized_audio_is_not_kept() {
        let broken = CachedTts::new(Counting::new(100, true), 1 << 20);
        chunks(&broken, request("hello")).await;
        assert_eq!(broken.bytes(), 0);

        let dropped = CachedTts::new(Counting::new(100, false), 1 << 20);
        let mut stream = dropped.speak(request("hello")).await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        assert_eq!(dropped.bytes(), 0);

        let small = CachedTts::new(Counting::new(100, false), 2000);
        assert_eq!(chunks(&small, request("hello")).await.len(), 3);
        assert_eq!(small.bytes(), 0);
    }

    #[tokio::test]
    async fn private_words_are_made_each_time_and_not_kept() {
        let voice = Counting::new(100, false);
        let tts = CachedTts::new(voice.clone(), 1 << 20);
        let private = || SpeakRequest { text: clear("four seven one one").in_private(), ..request("") };
        assert_eq!(chunks(&tts, private()).await.len(), 3);
        assert_eq!(chunks(&tts, private()).await.len(), 3);
        assert_eq!((*voice.calls.lock(), tts.bytes()), (2, 0));
    }

    #[tokio::test]
    async fn what_was_made_is_ready_at_once() {
        let tts = CachedTts::new(Counting::new(10, false), 1 << 20);
        assert_eq!(tts.ready(&request("a")), None);
        chunks(&tts, request("a")).await;
        assert_eq!(tts.ready(&request("a")).map(|made| made.samples.len()), Some(30));
        let private = SpeakRequest { text: clear("a").in_private(), ..request("") };
        assert_eq!(tts.ready(&private), None);
    }

    proptest! {
        #[test]
        fn bytes_stay_within_the_bound_and_are_counted(uses in proptest::collection::vec((0u8..20, 1usize..300), 1..200)) {
            let mut shelf = Shelf::new(2000);
            for (name, length) in uses {
                let key = Key([name; 32]);
                if shelf.fetch(&key).is_none() {
                    shelf.keep(key, vec![0; length].into());
                }
                let sum: usize = shelf.kept.values().map(|(audio, _)| size(audio)).sum();
                prop_assert_eq!(sum, shelf.bytes);
                prop_assert!(shelf.bytes <= 2000);
                prop_assert_eq!(shelf.kept.len(), shelf.order.len());
            }
        }
    }
}
