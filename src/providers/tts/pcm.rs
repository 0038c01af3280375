//! Bytes of 16-bit little-endian mono PCM, cut anywhere, into 8 kHz samples.

use offhook_media::resample::{Rate, Resampler};

/// Converts one stream; holds at most one odd byte and the filter's memory.
pub(super) struct PcmTo8k {
    resampler: Resampler,
    odd: Option<u8>,
}

impl PcmTo8k {
    pub(super) fn new(from: Rate) -> Self {
        Self { resampler: Resampler::new(from, Rate::Hz8000), odd: None }
    }

    /// The samples that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<i16> {
        let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
        let mut rest = bytes;
        if let (Some(low), Some((&high, tail))) = (self.odd, bytes.split_first()) {
            samples.push(i16::from_le_bytes([low, high]));
            self.odd = None;
            rest = tail;
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        samples.extend(pairs.iter().copied().map(i16::from_le_bytes));
        self.odd = odd.first().copied().or(self.odd);
        let mut out = Vec::with_capacity(self.resampler.most_output(samples.len()));
        self.resampler.push(&samples, &mut out);
        out
    }

    /// What the filter still holds.
    ///
    /// # Errors
    /// When the stream ended inside a sample.
    pub(super) fn finish(mut self) -> Result<Vec<i16>, &'static str> {
        if self.odd.is_some() {
            return Err("audio ended inside a sample");
        }
        let mut out = Vec::new();
        self.resampler.finish(&mut out);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_changes_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..40) {
            let mut whole = PcmTo8k::new(Rate::Hz24000);
            let mut parts = PcmTo8k::new(Rate::Hz24000);
            let expected = whole.push(&bytes);
            let mut got = Vec::new();
            for part in bytes.chunks(cut) {
                got.extend(parts.push(part));
            }
            prop_assert_eq!(expected, got);
            prop_assert_eq!(whole.finish(), parts.finish());
        }
    }

    #[test]
    fn an_odd_end_is_an_error() {
        let mut pcm = PcmTo8k::new(Rate::Hz8000);
        assert_eq!(pcm.push(&[1, 0, 2]), vec![1]);
        assert!(pcm.finish().is_err());
    }
}
