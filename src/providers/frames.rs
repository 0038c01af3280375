//! The queue by which a call's 20 ms frames reach a recogniser's session on another thread.

use offhook_media::Frame;
use offhook_media::denoise::NoiseSuppressor;

use crate::queue::{Receiver, Sender, bounded};

/// The call's half; a frame is dropped and counted when the session is slow. Dropping it ends the session.
pub type FrameSender = Sender<Frame>;

/// The session's half.
pub struct FrameReceiver {
    frames: Receiver<Frame>,
    suppressor: Option<Box<NoiseSuppressor>>,
}

/// A queue of `capacity` frames (20 ms each).
pub fn frame_queue(capacity: usize) -> (FrameSender, FrameReceiver) {
    let (sender, frames) = bounded(capacity);
    (sender, FrameReceiver { frames, suppressor: None })
}

impl FrameReceiver {
    /// The next frame, or `None` once the call has hung up its half and the queue is empty.
    pub async fn recv(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await;
        frame.map(|frame| self.clear(frame))
    }

    /// A frame that has already arrived.
    pub fn try_recv(&mut self) -> Option<Frame> {
        let frame = self.frames.try_recv();
        frame.map(|frame| self.clear(frame))
    }

    /// The same frames with less noise, 10 ms later. The work is done where they are read, not on the call's 20 ms path.
    #[must_use]
    pub fn with_less_noise(self) -> Self {
        Self { suppressor: Some(Box::default()), ..self }
    }

    fn clear(&mut self, mut frame: Frame) -> Frame {
        if let Some(suppressor) = &mut self.suppressor {
            suppressor.run(&mut frame);
        }
        frame
    }
}
