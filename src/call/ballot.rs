//! Has a model vote on whether a caller's turn is over, beside the call: the 20 ms path hands over frames and looks whether a
//! vote has come. A vote that comes after the caller went on counts for nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use offhook_media::{FRAME, Frame, RATE_HZ};

use crate::providers::ProviderError;
use crate::providers::turn_end::TurnEnd;
use crate::queue::{Receiver, Sender, bounded};
use crate::turn::vote::TurnVote;

/// The call's half. Dropping it ends the other one.
pub struct Ballot {
    heard: Sender<Heard>,
    silence: u32,
    vote: Arc<AtomicU64>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "frames are nearly all of what is sent, and a box for each would be allocated on their way"
)]
enum Heard {
    Frame(Frame),
    /// The caller fell silent, for the time with this number.
    Silence(u32),
}

/// The call's half, and what runs beside it until the call has dropped its half.
pub fn ballot(model: Arc<dyn TurnEnd>) -> (Ballot, impl Future<Output = ()> + Send) {
    let (sender, heard) = bounded(FRAMES);
    let vote = Arc::new(AtomicU64::new(0));
    (Ballot { heard: sender, silence: 0, vote: Arc::clone(&vote) }, run(model, heard, vote))
}

impl TurnVote for Ballot {
    fn hear(&mut self, frame: &Frame) {
        // A model that is behind misses some of it.
        self.heard.push_or_drop(Heard::Frame(*frame));
    }

    fn fell_silent(&mut self) {
        self.silence = self.silence.wrapping_add(1);
        // Where there is no room for the question there will be no vote.
        self.heard.push_or_drop(Heard::Silence(self.silence));
    }

    fn vote(&self) -> Option<f32> {
        let (silence, over) = parted(self.vote.load(Ordering::Acquire));
        (silence == self.silence && silence > 0).then_some(over)
    }
}

/// Keeps the last seconds and asks the model in each silence. A question that is still open when the next one comes is dropped.
async fn run(model: Arc<dyn TurnEnd>, mut heard: Receiver<Heard>, vote: Arc<AtomicU64>) {
    let mut last: VecDeque<i16> = VecDeque::with_capacity(SAMPLES + FRAME);
    let (mut open, mut has_failed) = (None, false);
    loop {
        tokio::select! {
            what = heard.recv() => match what {
                None => return,
                Some(Heard::Silence(silence)) => open = Some((silence, model.judge(last.iter().copied().collect()))),
                Some(Heard::Frame(frame)) => {
                    last.extend(frame);
                    last.drain(..last.len().saturating_sub(SAMPLES));
                }
            },
            (silence, over) = answered(&mut open) => {
                open = None;
                match over {
                    Ok(over) => vote.store(joined(silence, over), Ordering::Release),
                    // A model that is away fails in each pause of each call.
                    Err(error) if !has_failed => {
                        has_failed = true;
                        tracing::warn!(%error, "no vote on the end of a turn; the rules decide alone");
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

type Open = Option<(u32, BoxFuture<'static, Result<f32, ProviderError>>)>;

/// Of the question that is open; never where none is.
async fn answered(open: &mut Open) -> (u32, Result<f32, ProviderError>) {
    match open {
        Some((silence, asked)) => (*silence, asked.await),
        None => std::future::pending().await,
    }
}

const fn joined(silence: u32, over: f32) -> u64 {
    (silence as u64) << 32 | over.to_bits() as u64
}

const fn parted(vote: u64) -> (u32, f32) {
    ((vote >> 32) as u32, f32::from_bits(vote as u32))
}

/// What models of this kind look at: 8 s.
const SAMPLES: usize = 8 * RATE_HZ as usize;
/// 2 s of audio may wait.
const FRAMES: usize = 100;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Hands each question to the test.
    struct Asked(mpsc::Sender<(Vec<i16>, oneshot::Sender<f32>)>);

    impl TurnEnd for Asked {
        fn name(&self) -> &'static str {
            "asked"
        }

        fn judge(&self, samples: Vec<i16>) -> BoxFuture<'static, Result<f32, ProviderError>> {
            let (answer, vote) = oneshot::channel();
            let _ = self.0.try_send((samples, answer));
            async { Ok(vote.await.unwrap_or(0.5)) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_vote_is_about_the_silence_in_which_it_was_asked_for() {
        let (sender, mut questions) = mpsc::channel(4);
        let (mut ballot, task) = ballot(Arc::new(Asked(sender)));
        let task = tokio::spawn(task);
        for number in 0..90 {
            ballot.hear(&[number; 160]);
        }
        assert_eq!(ballot.vote(), None);
        ballot.fell_silent();
        let (samples, first) = questions.recv().await.unwrap();
        assert_eq!((samples.len(), samples.last()), (90 * 160, Some(&89)));
        ballot.hear(&[7; 160]);
        ballot.fell_silent();
        let (samples, second) = questions.recv().await.unwrap();
        assert_eq!(samples.last(), Some(&7));
        assert!(first.send(0.1).is_err(), "the open question was dropped");
        assert_eq!(ballot.vote(), None);
        second.send(0.9).unwrap();
        while ballot.vote().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ballot.vote(), Some(0.9));
        ballot.fell_silent();
        assert_eq!(ballot.vote(), None, "a new silence, a new vote");
        drop(ballot);
        task.await.unwrap();
    }
}
