//! Which packets have come (RFC 3711 section 3.3.2): the newest 128 are told apart, what is older counts as seen.

use super::SrtpError;

/// Indexes seen: bit n stands for `highest - n`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    highest: u64,
    seen: u128,
}

impl Window {
    /// Whether a packet may still be taken; changes nothing.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        let Some(behind) = self.highest.checked_sub(index) else { return Ok(()) };
        let fresh = u32::try_from(behind).ok().and_then(|behind| 1u128.checked_shl(behind));
        match fresh {
            Some(bit) if self.seen & bit == 0 => Ok(()),
            _ => Err(SrtpError::Replayed),
        }
    }

    /// A packet was authentic.
    pub(super) fn note(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                let shifted = u32::try_from(ahead).ok().and_then(|ahead| self.seen.checked_shl(ahead));
                (self.highest, self.seen) = (index, shifted.unwrap_or(0) | 1);
            }
            None => {
                let behind = u32::try_from(self.highest - index).ok();
                self.seen |= behind.and_then(|behind| 1u128.checked_shl(behind)).unwrap_or(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_128_are_told_apart() {
        let mut window = Window::default();
        assert_eq!(window.check(0), Ok(()), "nothing has come, not even the first");
        window.note(0);
        assert_eq!(window.check(0), Err(SrtpError::Replayed));
        window.note(127);
        assert_eq!(window.check(0), Err(SrtpError::Replayed));
        assert_eq!((window.check(1), window.check(126)), (Ok(()), Ok(())));
        window.note(129);
        assert_eq!((window.check(1), window.check(2)), (Err(SrtpError::Replayed), Ok(())));
        window.note(1 << 40);
        assert_eq!(window.check(130), Err(SrtpError::Replayed));
        assert_eq!(window.check(u64::MAX), Ok(()));
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice(indexes in prop::collection::vec(0u64..400, 1..300)) {
            let (mut window, mut taken) = (Window::default(), std::collections::HashSet::new());
            for index in indexes {
                if window.check(index).is_ok() {
                    prop_assert!(taken.insert(index));
                    window.note(index);
                }
            }
        }
    }
}
