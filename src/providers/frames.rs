//! The queue by which a call's 20 ms frames reach a recogniser's session on another thread.

use offhook_media::Frame;

use crate::queue::{Receiver, Sender, bounded};

/// The call's half; a frame is dropped and counted when the session is slow. Dropping it ends the session.
pub type FrameSender = Sender<Frame>;

/// The session's half.
pub type FrameReceiver = Receiver<Frame>;

/// A queue of `capacity` frames (20 ms each).
pub fn frame_queue(capacity: usize) -> (FrameSender, FrameReceiver) {
    bounded(capacity)
}
