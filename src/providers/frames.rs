//! The bounded queue by which a call's 20 ms frames reach a vendor session on another thread.
//!
//! The sending half belongs to the 20 ms path: it never waits, locks or allocates. When the queue is full the oldest
//! frame goes and is counted, because late speech is worth less than current speech.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use crossbeam_queue::ArrayQueue;
use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use offhook_media::Frame;

/// A queue of `capacity` frames (20 ms each).
pub fn frame_queue(capacity: usize) -> (FrameSender, FrameReceiver) {
    let shared = Arc::new(Shared {
        frames: ArrayQueue::new(capacity.max(1)),
        waker: AtomicWaker::new(),
        dropped: AtomicU64::new(0),
        closed: AtomicBool::new(false),
    });
    (FrameSender(Arc::clone(&shared)), FrameReceiver(shared))
}

/// The call's half. Dropping it ends the session at the other side.
pub struct FrameSender(Arc<Shared>);

impl FrameSender {
    /// Queues one frame; the oldest is dropped and counted when the queue is full.
    pub fn push(&self, frame: &Frame) {
        if self.0.frames.force_push(*frame).is_some() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.0.waker.wake();
    }

    /// Frames dropped so far because the reader was slow.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// The vendor session's half.
pub struct FrameReceiver(Arc<Shared>);

impl FrameReceiver {
    /// The next frame, or `None` once the call has dropped its half and the queue is empty.
    pub async fn recv(&mut self) -> Option<Frame> {
        poll_fn(|cx| {
            if let Some(frame) = self.0.frames.pop() {
                return Poll::Ready(Some(frame));
            }
            self.0.waker.register(cx.waker());
            match self.0.frames.pop() {
                Some(frame) => Poll::Ready(Some(frame)),
                None if self.0.closed.load(Ordering::Acquire) => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// A frame that has already arrived.
    pub fn try_recv(&mut self) -> Option<Frame> {
        self.0.frames.pop()
    }
}

struct Shared {
    frames: ArrayQueue<Frame>,
    waker: AtomicWaker,
    dropped: AtomicU64,
    closed: AtomicBool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drops_the_oldest_when_full_and_ends_with_the_sender() {
        let (sender, mut receiver) = frame_queue(2);
        for value in 1..=3 {
            sender.push(&[value; offhook_media::FRAME]);
        }
        assert_eq!(sender.dropped(), 1);
        drop(sender);
        assert_eq!(receiver.recv().await.map(|f| f[0]), Some(2));
        assert_eq!(receiver.recv().await.map(|f| f[0]), Some(3));
        assert_eq!(receiver.recv().await, None);
    }
}
