//! Recognisers in order of preference that are one recogniser: where a session is lost for good, the next one hears once more
//! what was not settled, and goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use offhook_media::g711::G711;
use offhook_media::{FRAME, FRAME_MS, Frame, SILENCE};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::providers::config::SttConfig;
use crate::providers::stack::{Chain, Kind, LinkCheck, Patience, Ranked, ResilienceConfig};
use crate::providers::{
    FrameReceiver, FrameSender, Language, ListenRequest, ProviderError, Recognised, Stt, SttEvent, frame_queue,
};
use crate::telemetry::metrics::Metrics;

/// A chain of recognisers that is one recogniser.
#[derive(Clone)]
pub struct EarChain(Chain<dyn Stt>);

impl EarChain {
    /// `ears` in order of preference; `None` without any.
    pub fn new(
        ears: Vec<Ranked<dyn Stt>>,
        config: &SttConfig,
        resilience: &ResilienceConfig,
        metrics: &Metrics,
    ) -> Option<Self> {
        let patience = Patience {
            first: config.connect(),
            last: config.connect(),
            // What is heard may be nothing for as long as nobody speaks: sessions watch over themselves.
            progress: Duration::MAX,
            hedge_after: config.hedge_after(),
            what: "session",
        };
        let chain = Chain::new(Kind::Stt, ears, |stt| stt.name(), patience, resilience, metrics);
        (!chain.is_empty()).then_some(Self(chain))
    }

    /// Each recogniser by itself, for health.
    pub fn checks(&self) -> Vec<LinkCheck> {
        self.0.checks(|stt| stt.check())
    }
}

impl Stt for EarChain {
    fn name(&self) -> &'static str {
        "recognisers"
    }

    /// Resolves once one of them has accepted the session. Needs a tokio runtime, on which the session then runs.
    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let mut session = Session::new(self.0.clone(), request, events);
        async move {
            let line = session.open(0).await?;
            tokio::spawn(session.run(line));
            Ok(receiver)
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.0.check(|stt| stt.check())
    }
}

/// The only owner of a call's frames; see the module's header.
struct Session {
    chain: Chain<dyn Stt>,
    language: Language,
    hints: Vec<String>,
    audio: FrameReceiver,
    audio_over: bool,
    kept: Kept,
    events: mpsc::Sender<SttEvent>,
    /// How often one recogniser was opened again since words came.
    tries: u32,
}

/// A session of one recogniser.
struct Line {
    place: usize,
    /// Dropped when the caller's audio is over.
    frames: Option<FrameSender>,
    events: mpsc::Receiver<SttEvent>,
    /// The number of the first frame that it was given.
    base: u64,
    /// How often it has been lost since it told anything.
    lost: u32,
}

/// Why a recogniser's session is over.
enum End {
    /// The call listens no more, or the last words are in.
    Session,
    Lost(ProviderError),
}

impl Session {
    fn new(chain: Chain<dyn Stt>, request: ListenRequest, events: mpsc::Sender<SttEvent>) -> Self {
        let ListenRequest { language, hints, audio } = request;
        // Where nobody has to hear it again, nothing is kept.
        let again = chain.links().len() > 1 || chain.links().iter().any(|link| !link.vendor.reconnects());
        let kept = Kept::new(if again { MOST_KEPT } else { 0 });
        Self { chain, language, hints, audio, audio_over: false, kept, events, tries: 0 }
    }

    async fn run(mut self, mut line: Line) {
        loop {
            let lost = match self.serve(&mut line).await {
                End::Session => return,
                End::Lost(error) => error,
            };
            if let Some(link) = self.chain.links().get(line.place) {
                link.broke_off(&lost);
            }
            match self.next(line.place).await {
                Some(next) => line = next,
                None => {
                    // Whoever listened may be gone.
                    let _ = self.events.send(SttEvent::Failed(lost)).await;
                    return;
                }
            }
        }
    }

    /// The recogniser after this one, one before it that serves again, or this one once more.
    async fn next(&mut self, place: usize) -> Option<Line> {
        let again = self.chain.links().get(place).is_some_and(|link| !link.vendor.reconnects());
        if (self.chain.links().len() == 1 && !again) || self.events.send(SttEvent::Reconnecting).await.is_err() {
            return None;
        }
        if let Ok(line) = self.open(place + 1).await {
            return Some(line);
        }
        if self.is_anyone_well(place)
            && let Ok(line) = self.open(0).await
        {
            return Some(line);
        }
        while again && self.tries < MOST_TRIES {
            self.pause(FIRST_PAUSE * 2_u32.saturating_pow(self.tries)).await;
            self.tries += 1;
            match self.open(place).await {
                Ok(line) => return Some(line),
                Err(ProviderError::Unauthorized { .. } | ProviderError::NotConfigured { .. }) => return None,
                Err(_) => {}
            }
        }
        None
    }

    async fn pause(&mut self, length: Duration) {
        let until = Instant::now() + length;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.events.closed() => return,
                frame = self.audio.recv(), if !self.audio_over => match frame {
                    Some(frame) => self.kept.push(&frame),
                    None => self.audio_over = true,
                },
            }
        }
    }

    fn is_anyone_well(&self, before: usize) -> bool {
        self.chain.links().iter().take(before).any(|link| !link.is_left_alone())
    }

    /// Opens a session of a recogniser from the place `first` on, while the caller's frames are kept.
    async fn open(&mut self, first: usize) -> Result<Line, ProviderError> {
        let (base, kept) = (self.kept.first, self.kept.frames());
        let (language, hints) = (self.language.clone(), self.hints.clone());
        let attempt = move |stt: &Arc<dyn Stt>| {
            let (mut frames, audio) = frame_queue(FRAMES);
            kept.iter().for_each(|frame| frames.push_or_drop(*frame));
            let listening = stt.listen(ListenRequest { language: language.clone(), hints: hints.clone(), audio });
            Some(async move { Ok((frames, listening.await?)) }.boxed())
        };
        let chain = self.chain.clone();
        let beginning = chain.begin(first, attempt);
        tokio::pin!(beginning);
        let mut since = Vec::new();
        let (place, (mut frames, events)) = loop {
            tokio::select! {
                begun = &mut beginning => break begun?,
                frame = self.audio.recv(), if !self.audio_over => match frame {
                    Some(frame) => {
                        self.kept.push(&frame);
                        since.push(frame);
                    }
                    None => self.audio_over = true,
                },
            }
        };
        since.iter().for_each(|frame| frames.push_or_drop(*frame));
        Ok(Line { place, frames: (!self.audio_over).then_some(frames), events, base, lost: 0 })
    }

    async fn serve(&mut self, line: &mut Line) -> End {
        loop {
            tokio::select! {
                () = self.events.closed() => return End::Session,
                frame = self.audio.recv(), if !self.audio_over => match frame {
                    Some(frame) => {
                        self.kept.push(&frame);
                        line.frames.iter_mut().for_each(|frames| frames.push_or_drop(frame));
                    }
                    None => {
                        self.audio_over = true;
                        line.frames = None;
                    }
                },
                event = line.events.recv() => match self.take(line, event).await {
                    None => {}
                    Some(end) => return end,
                },
            }
        }
    }

    async fn take(&mut self, line: &mut Line, event: Option<SttEvent>) -> Option<End> {
        match event {
            None if self.audio_over => return Some(End::Session),
            None => return Some(End::Lost(self.silent(line, "the session ended"))),
            Some(SttEvent::Failed(error)) => return Some(End::Lost(error)),
            Some(SttEvent::Reconnecting) => {
                line.lost += 1;
                if line.lost >= MOST_LOST && self.chain.links().len() > line.place + 1 {
                    return Some(End::Lost(self.silent(line, "the session is lost again and again")));
                }
                self.tell(SttEvent::Reconnecting).await;
            }
            Some(event) => {
                (line.lost, self.tries) = (0, 0);
                let event = moved(event, FRAME_TIME * u32::try_from(line.base).unwrap_or(u32::MAX));
                if let SttEvent::Final(heard) = &event {
                    self.kept.settled(heard.end);
                }
                self.tell(event).await;
            }
        }
        None
    }

    fn silent(&self, line: &Line, what: &str) -> ProviderError {
        let vendor = self.chain.links().get(line.place).map_or("recognisers", |link| link.name);
        ProviderError::Connection { vendor, what: what.to_owned() }
    }

    /// Interim words give way when the reader is slow; everything else waits for it.
    async fn tell(&mut self, event: SttEvent) {
        if matches!(event, SttEvent::Interim(_)) {
            let _ = self.events.try_send(event);
        } else {
            // A reader that has gone is noticed by the loop.
            let _ = self.events.send(event).await;
        }
    }
}

/// The same event, its times counted from the first frame of the call's session.
fn moved(event: SttEvent, by: Duration) -> SttEvent {
    let move_by = |heard: Recognised| Recognised { start: heard.start + by, end: heard.end + by, ..heard };
    match event {
        SttEvent::Interim(heard) => SttEvent::Interim(move_by(heard)),
        SttEvent::Final(heard) => SttEvent::Final(move_by(heard)),
        other => other,
    }
}

/// What a recogniser has not settled, as mu-law.
struct Kept {
    octets: VecDeque<[u8; FRAME]>,
    /// The number of the first frame that is kept.
    first: u64,
    most: usize,
}

impl Kept {
    const fn new(most: usize) -> Self {
        Self { octets: VecDeque::new(), first: 0, most }
    }

    fn push(&mut self, frame: &Frame) {
        let mut octets = [0; FRAME];
        G711::Ulaw.encode(frame, &mut octets);
        self.octets.push_back(octets);
        while self.octets.len() > self.most {
            self.octets.pop_front();
            self.first += 1;
        }
    }

    /// What was said until then will not change.
    fn settled(&mut self, until: Duration) {
        let until = u64::try_from(until.as_millis() / u128::from(FRAME_MS)).unwrap_or(u64::MAX);
        while self.first < until && self.octets.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn frames(&self) -> Vec<Frame> {
        let decoded = |octets: &[u8; FRAME]| {
            let mut frame = SILENCE;
            G711::Ulaw.decode(octets, &mut frame);
            frame
        };
        self.octets.iter().map(decoded).collect()
    }
}

const FRAME_TIME: Duration = Duration::from_millis(FRAME_MS as u64);
const EVENTS: usize = 64;
/// 10 s.
const MOST_KEPT: usize = 500;
/// What is kept and as much again.
const FRAMES: usize = 2 * MOST_KEPT;
/// Times in a row that a session may be lost while there is another recogniser.
const MOST_LOST: u32 = 2;
/// Times in a row that one recogniser is opened again, ever later.
const MOST_TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(125);

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::telemetry::pii::Pii;

    /// What a scripted recogniser does with a session.
    #[derive(Clone, Copy, PartialEq)]
    enum Act {
        Refuses,
        /// Accepts after so many ms and settles a word each five frames.
        Hears(u64),
        /// Settles a word each five frames, and is lost with the frame of this number.
        LostAt(usize),
        /// Is lost again and again.
        Flaps,
    }

    struct Scripted {
        act: Act,
        sessions: Mutex<u32>,
        /// The first samples of the frames that it was given.
        heard: Arc<Mutex<Vec<i16>>>,
    }

    impl Scripted {
        fn new(act: Act) -> Arc<Self> {
            Arc::new(Self { act, sessions: Mutex::default(), heard: Arc::default() })
        }

        /// The numbers of the frames that it was given.
        fn frames(&self) -> Vec<i16> {
            // Mu-law is exact to a sixteenth or so: frames are numbered in steps that it keeps apart.
            self.heard.lock().iter().map(|sample| (f32::from(*sample) / 100.0).round() as i16).collect()
        }
    }

    const LOST: ProviderError = ProviderError::Status { vendor: "scripted", status: 500 };

    impl Stt for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn listen(
            &self,
            request: ListenRequest,
        ) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
            *self.sessions.lock() += 1;
            let (act, all, mut audio) = (self.act, Arc::clone(&self.heard), request.audio);
            async move {
                match act {
                    Act::Refuses => return Err(LOST),
                    Act::Hears(after) => tokio::time::sleep(Duration::from_millis(after)).await,
                    _ => {}
                }
                let (events, receiver) = mpsc::channel(64);
                tokio::spawn(async move {
                    let mut number = 0;
                    while let Some(frame) = audio.recv().await {
                        all.lock().push(frame[0]);
                        number += 1;
                        let event = match act {
                            Act::LostAt(last) if number == last => SttEvent::Failed(LOST),
                            Act::Flaps => SttEvent::Reconnecting,
                            _ if number % 5 == 0 => SttEvent::Final(word(number)),
                            _ => continue,
                        };
                        if events.send(event).await.is_err() {
                            return;
                        }
                    }
                });
                Ok(receiver)
            }
            .boxed()
        }

        fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
            futures_util::future::ready(Ok(())).boxed()
        }

        fn reconnects(&self) -> bool {
            self.act == Act::Flaps
        }
    }

    /// Ends with its frame.
    fn word(number: usize) -> Recognised {
        let end = FRAME_TIME * number as u32;
        Recognised { text: Pii::new("w".into()), confidence: 1.0, start: end - FRAME_TIME * 5, end }
    }

    fn chain(ears: &[&Arc<Scripted>]) -> EarChain {
        let ears = ears.iter().map(|ear| Ranked::from(Arc::clone(*ear) as Arc<dyn Stt>)).collect();
        EarChain::new(ears, &SttConfig::default(), &ResilienceConfig::default(), &Metrics::new()).unwrap()
    }

    /// What is told of 20 frames, each numbered by its samples.
    async fn told(ears: &EarChain) -> Result<Vec<SttEvent>, ProviderError> {
        let (mut frames, audio) = frame_queue(100);
        (1..=20).for_each(|number| frames.push_or_drop([number * 100; FRAME]));
        let request = ListenRequest { language: Language::default(), hints: Vec::new(), audio };
        let mut events = ears.listen(request).await?;
        drop(frames);
        let mut all = Vec::new();
        while let Some(event) = events.recv().await {
            all.push(event);
        }
        Ok(all)
    }

    fn ends(events: &[SttEvent]) -> Vec<u64> {
        let end = |event: &SttEvent| match event {
            SttEvent::Final(heard) => Some(heard.end.as_millis() as u64 / 20),
            _ => None,
        };
        events.iter().filter_map(end).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_recogniser_hears_once_more_what_was_not_settled() {
        let (first, second) = (Scripted::new(Act::LostAt(8)), Scripted::new(Act::Hears(0)));
        let events = told(&chain(&[&first, &second])).await.unwrap();
        assert_eq!(ends(&events), [5, 10, 15, 20], "{events:?}");
        assert_eq!(events.iter().filter(|event| **event == SttEvent::Reconnecting).count(), 1);
        assert_eq!(second.frames(), (6..=20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn who_refuses_or_takes_too_long_is_passed_over() {
        for act in [Act::Refuses, Act::Hears(60_000)] {
            let (first, second) = (Scripted::new(act), Scripted::new(Act::Hears(100)));
            let begun = tokio::time::Instant::now();
            assert_eq!(ends(&told(&chain(&[&first, &second])).await.unwrap()), [5, 10, 15, 20]);
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_lost_again_and_again_is_left_for_another() {
        let (first, second) = (Scripted::new(Act::Flaps), Scripted::new(Act::Hears(0)));
        assert_eq!(ends(&told(&chain(&[&first, &second])).await.unwrap()), [5, 10, 15, 20]);
        let alone = told(&chain(&[&Scripted::new(Act::Flaps)])).await.unwrap();
        assert!(alone.iter().all(|event| *event == SttEvent::Reconnecting), "there is no other");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_reconnect_by_itself_is_opened_again() {
        let only = Scripted::new(Act::LostAt(8));
        let events = told(&chain(&[&only])).await.unwrap();
        // Each session settles one word and is lost with the third frame behind it.
        assert_eq!(ends(&events), [5, 10, 15, 20], "{events:?}");
        assert_eq!(*only.sessions.lock(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_lost_the_session_has_failed() {
        let (first, second) = (Scripted::new(Act::LostAt(3)), Scripted::new(Act::LostAt(3)));
        let events = told(&chain(&[&first, &second])).await.unwrap();
        assert_eq!(events.last(), Some(&SttEvent::Failed(LOST)));
        assert_eq!(told(&chain(&[&Scripted::new(Act::Refuses)])).await, Err(LOST));
    }
}
