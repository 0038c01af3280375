//! The bounded queue between a call's 20 ms path and a task on another thread.
//!
//! Neither half of the 20 ms path ever waits, locks or allocates here. What happens when the queue is full is the
//! sender's choice and part of the name: [`Sender::push_newest`] drops the oldest and counts it (audio: late speech
//! is worth less than current speech), [`Sender::try_push`] refuses (control: never dropped silently).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use crossbeam_queue::ArrayQueue;
use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;

/// A queue of `capacity` items (at least 1).
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        items: ArrayQueue::new(capacity.max(1)),
        waker: AtomicWaker::new(),
        dropped: AtomicU64::new(0),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The writing half. Dropping it ends the queue for the reader.
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Queues an item; when full, the oldest is dropped and counted.
    pub fn push_newest(&self, item: T) {
        if self.0.items.force_push(item).is_some() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.0.waker.wake();
    }

    /// Queues an item, or gives it back when the queue is full.
    ///
    /// # Errors
    /// The item itself, when the queue is full.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        self.0.items.push(item)?;
        self.0.waker.wake();
        Ok(())
    }

    /// Items dropped so far because the reader was slow.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Whether nobody will read any more.
    pub fn is_closed(&self) -> bool {
        self.0.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.sender_gone.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// The reading half.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next item, or `None` once the sender is gone and the queue is empty.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| {
            if let Some(item) = self.0.items.pop() {
                return Poll::Ready(Some(item));
            }
            self.0.waker.register(cx.waker());
            // Looked at before the second pop: an item pushed before the sender went must not be missed.
            let ended = self.0.sender_gone.load(Ordering::Acquire);
            match self.0.items.pop() {
                Some(item) => Poll::Ready(Some(item)),
                None if ended => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// An item that has already arrived.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.items.pop()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.store(true, Ordering::Release);
    }
}

struct Shared<T> {
    items: ArrayQueue<T>,
    waker: AtomicWaker,
    dropped: AtomicU64,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drops_the_oldest_when_full_and_ends_with_the_sender() {
        let (sender, mut receiver) = bounded(2);
        for value in 1..=3 {
            sender.push_newest(value);
        }
        assert_eq!(sender.dropped(), 1);
        assert_eq!(sender.try_push(4), Err(4));
        drop(sender);
        assert_eq!(receiver.recv().await, Some(2));
        assert_eq!(receiver.recv().await, Some(3));
        assert_eq!(receiver.recv().await, None);
    }

    #[test]
    fn the_sender_learns_that_nobody_reads() {
        let (sender, receiver) = bounded::<u8>(1);
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
    }
}
