//! Any recogniser, given the caller's voice with less noise (`stt.noise_suppression`).
//!
//! Only the recogniser hears it so. Barge-in, recordings and keys have the line as it is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::providers::{ListenRequest, ProviderError, Stt, SttEvent};

/// See the module's header.
pub struct DenoisedStt(pub Arc<dyn Stt>);

impl Stt for DenoisedStt {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        self.0.listen(ListenRequest { audio: request.audio.with_less_noise(), ..request })
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.0.check()
    }

    fn reconnects(&self) -> bool {
        self.0.reconnects()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use offhook_media::level::rms_dbfs;
    use offhook_media::tone::ComfortNoise;
    use offhook_media::{FRAME, Frame};

    use super::*;
    use crate::providers::{FrameReceiver, Language, frame_queue};

    /// A recogniser that only keeps what it is given to hear.
    #[derive(Default)]
    struct Keeps(Mutex<Option<FrameReceiver>>);

    impl Stt for Keeps {
        fn name(&self) -> &'static str {
            "keeps"
        }

        fn listen(
            &self,
            request: ListenRequest,
        ) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
            *self.0.lock() = Some(request.audio);
            Box::pin(async { Ok(mpsc::channel(1).1) })
        }

        fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn the_recogniser_hears_less_noise() {
        let keeps = Arc::new(Keeps::default());
        let stt = DenoisedStt(Arc::clone(&keeps) as Arc<dyn Stt>);
        let (mut sender, audio) = frame_queue(200);
        let mut noise = ComfortNoise::new(1, -40.0);
        for _ in 0..200 {
            let mut frame: Frame = [0; FRAME];
            noise.fill(&mut frame);
            sender.push_or_drop(frame);
        }
        drop(sender);
        let request = ListenRequest { language: Language::parse("en").unwrap(), hints: Vec::new(), audio };
        stt.listen(request).await.unwrap();
        let mut audio = keeps.0.lock().take().unwrap();
        let (mut frames, mut last) = (0, [0; FRAME]);
        while let Some(frame) = audio.recv().await {
            (frames, last) = (frames + 1, frame);
        }
        assert_eq!(frames, 200);
        assert!(rms_dbfs(&last) < -46.0, "{} dBFS", rms_dbfs(&last));
    }
}
