//! The bounded queue between a call's 20 ms path and a task on another thread: one thread writes, one reads.
//!
//! Neither half waits, locks, allocates or spins here, whatever the other half is in the middle of: a media thread runs
//! above everything else, and one that spins on a thread it has pushed off the core stops that core. What happens when
//! the queue is full is the sender's choice and part of the name: [`Sender::push_or_drop`] drops what was to be queued
//! and counts it (audio), [`Sender::try_push`] gives it back (control: never dropped silently).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use rtrb::{Consumer, Producer, RingBuffer};

/// A queue of `capacity` items (at least 1).
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (writer, reader) = RingBuffer::new(capacity.max(1));
    let ends = Arc::new(Ends {
        waker: AtomicWaker::new(),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
    });
    (Sender { items: writer, ends: Arc::clone(&ends), dropped: 0 }, Receiver { items: reader, ends })
}

/// The writing half. Dropping it ends the queue for the reader.
pub struct Sender<T> {
    items: Producer<T>,
    ends: Arc<Ends>,
    dropped: u64,
}

impl<T> Sender<T> {
    /// Queues an item; when full, the item is dropped and counted.
    pub fn push_or_drop(&mut self, item: T) {
        if self.try_push(item).is_err() {
            self.dropped += 1;
        }
    }

    /// Queues an item, or gives it back when the queue is full.
    ///
    /// # Errors
    /// The item itself, when the queue is full.
    pub fn try_push(&mut self, item: T) -> Result<(), T> {
        self.items.push(item).map_err(|rtrb::PushError::Full(item)| item)?;
        self.ends.waker.wake();
        Ok(())
    }

    /// Items dropped so far because the reader was slow.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether nobody will read any more.
    pub fn is_closed(&self) -> bool {
        self.ends.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.ends.sender_gone.store(true, Ordering::Release);
        self.ends.waker.wake();
    }
}

/// The reading half.
pub struct Receiver<T> {
    items: Consumer<T>,
    ends: Arc<Ends>,
}

impl<T> Receiver<T> {
    /// The next item, or `None` once the sender is gone and the queue is empty.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| {
            if let Some(item) = self.try_recv() {
                return Poll::Ready(Some(item));
            }
            self.ends.waker.register(cx.waker());
            // Looked at before the second pop: an item pushed before the sender went must not be missed.
            let ended = self.ends.sender_gone.load(Ordering::Acquire);
            match self.try_recv() {
                Some(item) => Poll::Ready(Some(item)),
                None if ended => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// An item that has already arrived.
    pub fn try_recv(&mut self) -> Option<T> {
        self.items.pop().ok()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.ends.receiver_gone.store(true, Ordering::Release);
    }
}

/// What each half must know of the other.
struct Ends {
    waker: AtomicWaker,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drops_and_counts_when_full_and_ends_with_the_sender() {
        let (mut sender, mut receiver) = bounded(2);
        for value in 1..=3 {
            sender.push_or_drop(value);
        }
        assert_eq!(sender.dropped(), 1);
        assert_eq!(sender.try_push(4), Err(4));
        drop(sender);
        assert_eq!(receiver.recv().await, Some(1));
        assert_eq!(receiver.recv().await, Some(2));
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
