//! A provider that counts what is used of it: wrapped around the client, inside the cache, so that only what was asked of
//! the vendor is counted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::entry::{Price, Unit};
use super::ledger::{Counts, Ledger};
use crate::providers::{
    AudioStream, Language, ListenRequest, Llm, LlmEvent, ProviderError, ReplyRequest, SpeakRequest, SpeechChunk, Stt,
    SttEvent, TokenStream, Tts,
};

/// Where the uses of one provider are counted.
#[derive(Clone)]
pub struct Meter {
    pub id: Arc<str>,
    pub price: Option<Price>,
    pub ledger: Arc<Mutex<Ledger>>,
    /// When the server began.
    pub origin: Instant,
}

impl Meter {
    fn asked(&self) {
        self.ledger.lock().used(&self.id, Timestamp::now(), Counts { requests: 1, ..Counts::default() });
    }

    fn used(&self, units: f64, usd: f64) {
        self.ledger.lock().used(&self.id, Timestamp::now(), Counts { units, usd, ..Counts::default() });
    }

    fn served(&self) {
        self.ledger.lock().served(&self.id, Timestamp::now());
    }

    fn failed(&self, error: &ProviderError) {
        self.ledger.lock().failed(&self.id, Timestamp::now(), self.origin.elapsed(), error.to_string());
    }

    /// What so many units of input cost.
    fn usd(&self, units: f64) -> f64 {
        self.price.map_or(0.0, |price| price.usd.0 * units)
    }

    fn output_usd(&self, units: f64) -> f64 {
        self.price.map_or(0.0, |price| price.output_usd.unwrap_or(price.usd).0 * units)
    }

    fn is_per_request(&self) -> bool {
        self.price.is_some_and(|price| price.per == Unit::Request)
    }
}

pub struct MeteredTts(pub Arc<dyn Tts>, pub Meter);

impl Tts for MeteredTts {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        let meter = self.1.clone();
        let thousands = count(request.text.as_str().chars().count()) / 1000.0;
        let speaking = self.0.speak(request);
        async move {
            meter.asked();
            let speech = speaking.await.inspect_err(|error| meter.failed(error))?;
            meter.used(thousands, meter.usd(if meter.is_per_request() { 1.0 } else { thousands }));
            let watched = speech.inspect(move |chunk| match chunk {
                Ok(_) => meter.served(),
                Err(error) => meter.failed(error),
            });
            Ok(watched.boxed())
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.0.check()
    }

    fn speaks(&self, language: &Language) -> bool {
        self.0.speaks(language)
    }

    fn knows(&self, voice: &str) -> bool {
        self.0.knows(voice)
    }

    fn ready(&self, request: &SpeakRequest) -> Option<SpeechChunk> {
        self.0.ready(request)
    }
}

pub struct MeteredStt(pub Arc<dyn Stt>, pub Meter);

impl Stt for MeteredStt {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        let meter = self.1.clone();
        let listening = self.0.listen(request);
        async move {
            meter.asked();
            let events = listening.await.inspect_err(|error| meter.failed(error))?;
            let (sender, passed_on) = mpsc::channel(EVENTS);
            // Ends with the session, or with whoever listens to it.
            tokio::spawn(pass_on(events, sender, Session { meter, began: Instant::now() }));
            Ok(passed_on)
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.0.check()
    }

    fn reconnects(&self) -> bool {
        self.0.reconnects()
    }
}

/// A session costs for as long as it is open.
struct Session {
    meter: Meter,
    began: Instant,
}

impl Drop for Session {
    fn drop(&mut self) {
        let minutes = self.began.elapsed().as_secs_f64() / 60.0;
        self.meter.used(minutes, self.meter.usd(minutes));
    }
}

async fn pass_on(mut events: mpsc::Receiver<SttEvent>, sender: mpsc::Sender<SttEvent>, session: Session) {
    loop {
        let event = tokio::select! {
            () = sender.closed() => return,
            event = events.recv() => event,
        };
        let Some(event) = event else { return };
        match &event {
            SttEvent::Failed(error) => session.meter.failed(error),
            SttEvent::Final(_) => session.meter.served(),
            _ => {}
        }
        if sender.send(event).await.is_err() {
            return;
        }
    }
}

pub struct MeteredLlm(pub Arc<dyn Llm>, pub Meter);

impl Llm for MeteredLlm {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>> {
        let meter = self.1.clone();
        let told = request.messages.iter().map(|message| message.content.expose().chars().count()).sum::<usize>();
        let replying = self.0.reply(request);
        async move {
            meter.asked();
            let answer = replying.await.inspect_err(|error| meter.failed(error))?;
            let mut bill = Bill { meter, told: count(told) / CHARACTERS_OF_A_TOKEN, said: 0.0 };
            Ok(answer.inspect(move |event| bill.note(event)).boxed())
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.0.check()
    }
}

/// Tokens of one answer, by its letters until the vendor says how many; settled however the answer ends.
struct Bill {
    meter: Meter,
    told: f64,
    said: f64,
}

impl Bill {
    fn note(&mut self, event: &Result<LlmEvent, ProviderError>) {
        match event {
            Ok(LlmEvent::Done { prompt_tokens, completion_tokens }) => {
                self.told = prompt_tokens.map_or(self.told, f64::from);
                self.said = completion_tokens.map_or(self.said, f64::from);
                self.meter.served();
            }
            Ok(LlmEvent::Text(text)) => self.said += count(text.chars().count()) / CHARACTERS_OF_A_TOKEN,
            #[allow(unreachable_patterns, reason = "kinds of events that cost nothing by themselves")]
            Ok(_) => {}
            Err(error) => self.meter.failed(error),
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let (told, said) = (self.told / 1e6, self.said / 1e6);
        let usd = if self.meter.is_per_request() {
            self.meter.usd(1.0)
        } else {
            self.meter.usd(told) + self.meter.output_usd(said)
        };
        self.meter.used(told + said, usd);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of characters are far below 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}

/// A rule of thumb for European languages.
const CHARACTERS_OF_A_TOKEN: f64 = 4.0;
const EVENTS: usize = 64;
/// How often what was used is written to the database.
pub const WRITE_EVERY: Duration = Duration::from_secs(5);
