//! A shard's inbox: any thread puts messages in, the media thread takes them out, all at once.
//!
//! The media thread runs above everything else, so it must never spin on a thread that it has itself pushed off the
//! core: that thread would go on only when the kernel throttles the shard, a second later, and nothing else on that
//! core until then. Lock-free channels and wakers do spin while another thread is halfway through a push or a wake. So
//! the media thread only ever tries this lock, and looks again a moment later; whoever puts something in wakes it.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use parking_lot::Mutex;

use crate::call::Moment;
use crate::clock;

/// An inbox for at most `capacity` messages.
///
/// # Errors
/// When the system has no event descriptor to give.
pub fn inbox<T>(capacity: usize) -> std::io::Result<(Sender<T>, Inbox<T>)> {
    let shared = Arc::new(Shared {
        capacity,
        messages: Mutex::new(VecDeque::with_capacity(capacity)),
        closed: AtomicBool::new(false),
        bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
    });
    let sender = Sender(Arc::clone(&shared));
    Ok((sender, Inbox { shared, taken: VecDeque::with_capacity(capacity), look_again: false }))
}

/// The way in, for any number of threads.
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts a message in, or gives it back when the inbox is full or closed.
    ///
    /// # Errors
    /// The message itself.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(message);
        }
        let mut messages = self.0.messages.lock();
        if messages.len() >= self.0.capacity {
            return Err(message);
        }
        let first = messages.is_empty();
        messages.push_back(message);
        drop(messages);
        if first {
            self.0.ring();
        }
        Ok(())
    }

    /// Puts a message in, waiting while the inbox is full. A closed one drops it.
    pub async fn send(&self, message: T) {
        let mut message = message;
        while let Err(again) = self.try_send(message) {
            if self.is_closed() {
                return;
            }
            message = again;
            tokio::time::sleep(FULL).await;
        }
    }

    /// Nothing is taken any more, and the reader is told.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.ring();
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// The reading half. Dropping it closes the inbox.
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
    taken: VecDeque<T>,
    /// Somebody was putting a message in when it was time to take them out.
    look_again: bool,
}

impl<T> Inbox<T> {
    /// Waits until `due` (for ever without one), or until there are messages.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait(&mut self, due: Option<Moment>) -> std::io::Result<()> {
        if !self.taken.is_empty() {
            return Ok(());
        }
        let due = if self.look_again {
            let soon = clock::now() + BUSY;
            Some(due.map_or(soon, |due| due.min(soon)))
        } else {
            due
        };
        if self.rung(due)? || self.look_again {
            self.take();
        }
        Ok(())
    }

    /// The next of the messages that were taken out.
    pub fn pop(&mut self) -> Option<T> {
        self.taken.pop_front()
    }

    /// Whether nothing more is to be done.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Waits for the bell. Whether it has rung.
    fn rung(&self, due: Option<Moment>) -> std::io::Result<bool> {
        let left = due.map(|due| TimeSpec::from_duration(due.saturating_sub(clock::now())));
        let mut bell = [PollFd::new(self.shared.bell.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut bell, left, None) {
            Ok(ready) => Ok(ready > 0 && self.shared.bell.read().is_ok()),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self) {
        let messages = self.shared.messages.try_lock();
        self.look_again = messages.is_none();
        if let Some(mut messages) = messages {
            std::mem::swap(&mut *messages, &mut self.taken);
        }
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

struct Shared<T> {
    capacity: usize,
    messages: Mutex<VecDeque<T>>,
    closed: AtomicBool,
    bell: EventFd,
}

impl<T> Shared<T> {
    fn ring(&self) {
        // Fails only when nobody has listened for 2^64 rings.
        let _ = self.bell.write(1);
    }
}

/// How long a sender waits before it looks at a full inbox again.
const FULL: Duration = Duration::from_millis(1);

/// How long the reader leaves a sender alone whom it found at the inbox.
const BUSY: Duration = Duration::from_micros(200);

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Option<Moment> = Some(Duration::ZERO);

    #[test]
    fn messages_come_out_in_order_and_a_full_inbox_gives_them_back() {
        let (sender, mut inbox) = inbox(2).unwrap();
        assert_eq!((sender.try_send(1), sender.try_send(2), sender.try_send(3)), (Ok(()), Ok(()), Err(3)));
        inbox.wait(None).unwrap();
        assert_eq!(sender.try_send(4), Ok(()), "what was taken out has left its place");
        assert_eq!((inbox.pop(), inbox.pop(), inbox.pop()), (Some(1), Some(2), None));
        inbox.wait(None).unwrap();
        assert_eq!(inbox.pop(), Some(4));
        inbox.wait(AT_ONCE).unwrap();
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn a_sender_who_holds_the_inbox_is_not_waited_for_and_its_message_is_not_missed() {
        let (sender, mut inbox) = inbox(2).unwrap();
        sender.try_send(1).unwrap();
        let mut halfway = sender.0.messages.lock();
        inbox.wait(AT_ONCE).unwrap();
        assert_eq!(inbox.pop(), None);
        // No bell for the second message: the first is still there.
        halfway.push_back(2);
        drop(halfway);
        inbox.wait(None).unwrap();
        assert_eq!((inbox.pop(), inbox.pop()), (Some(1), Some(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_can_wait_gets_a_place_and_a_closed_inbox_keeps_nobody() {
        let (sender, mut inbox) = inbox(1).unwrap();
        sender.try_send(1).unwrap();
        let waiting = tokio::spawn({
            let sender = sender.clone();
            async move {
                sender.send(2).await;
                sender.send(3).await;
                sender.send(4).await;
            }
        });
        tokio::time::sleep(FULL * 3).await;
        inbox.wait(AT_ONCE).unwrap();
        tokio::time::sleep(FULL * 3).await;
        assert_eq!(inbox.pop(), Some(1));
        inbox.wait(AT_ONCE).unwrap();
        assert_eq!(inbox.pop(), Some(2));
        sender.close();
        waiting.await.unwrap();
        assert!(inbox.is_closed() && sender.try_send(5) == Err(5));
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_for_the_sender() {
        let (sender, inbox) = inbox(1).unwrap();
        drop(inbox);
        assert_eq!(sender.try_send(1), Err(1));
    }
}
