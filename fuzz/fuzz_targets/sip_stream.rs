//! Any bytes as a stream: however it is split, the same frames come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_sip::{Framed, StreamFramer};

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    let split = frames(stream, usize::from(*cut).max(1));
    assert_eq!(whole.0, split.0, "a split changed the frames");
    assert_eq!(whole.1, split.1, "a split changed the verdict");
});

fn frames(stream: &[u8], cut: usize) -> (Vec<Framed>, bool) {
    let (mut framer, mut seen) = (StreamFramer::new(), Vec::new());
    for piece in stream.chunks(cut) {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => seen.push(frame),
                Ok(None) => break,
                Err(_) => return (seen, true),
            }
        }
    }
    (seen, false)
}
