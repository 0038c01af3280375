//! HMAC-SHA1 (RFC 2104) for many short packets under one key: the two hashed pads are kept, so that a packet costs its
//! own blocks and two more.

use sha1::compress;
use sha1::digest::generic_array::GenericArray;
use zeroize::Zeroize;

/// A key, as the states of SHA-1 behind its inner and outer pad. Wiped when dropped.
#[derive(Clone)]
pub(super) struct HmacSha1 {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl HmacSha1 {
    pub(super) fn new(key: &[u8; KEY]) -> Self {
        Self { inner: Self::padded(key, 0x36), outer: Self::padded(key, 0x5C) }
    }

    /// The code of `message` followed by `suffix`, which is at most 4 octets.
    pub(super) fn code(&self, message: &[u8], suffix: &[u8]) -> [u8; 20] {
        let mut state = self.inner;
        let (blocks, rest) = message.as_chunks::<BLOCK>();
        for block in blocks {
            compress(&mut state, core::slice::from_ref(GenericArray::from_slice(block)));
        }
        let mut last = [0; 2 * BLOCK];
        let used = rest.len() + suffix.len();
        last.iter_mut().zip(rest.iter().chain(suffix).chain(&[0x80])).for_each(|(place, octet)| *place = *octet);
        finish(&mut state, &mut last, used, BLOCK + message.len() + suffix.len());
        let (mut outer, mut last) = (self.outer, [0; 2 * BLOCK]);
        let digest = octets(&state);
        last.iter_mut().zip(digest.iter().chain(&[0x80])).for_each(|(place, octet)| *place = *octet);
        finish(&mut outer, &mut last, digest.len(), BLOCK + digest.len());
        octets(&outer)
    }

    fn padded(key: &[u8; KEY], pad: u8) -> [u32; 5] {
        let (mut block, mut state) = ([pad; BLOCK], START);
        block.iter_mut().zip(key).for_each(|(place, octet)| *place ^= octet);
        compress(&mut state, core::slice::from_ref(GenericArray::from_slice(&block)));
        block.zeroize();
        state
    }
}

impl Drop for HmacSha1 {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// Octets of the key in every suite.
pub(super) const KEY: usize = 20;

const BLOCK: usize = 64;

/// FIPS 180-4 section 5.3.1.
const START: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];

/// Closes a hash: `last` holds the octets that fill no whole block, and the one behind them.
fn finish(state: &mut [u32; 5], last: &mut [u8; 2 * BLOCK], used: usize, whole: usize) {
    let bits = (whole as u64 * 8).to_be_bytes();
    let (first, second) = last.split_at_mut(BLOCK);
    let closing = if used + 9 > BLOCK { &mut *second } else { &mut *first };
    closing.iter_mut().skip(BLOCK - bits.len()).zip(&bits).for_each(|(place, octet)| *place = *octet);
    compress(state, core::slice::from_ref(GenericArray::from_slice(first)));
    if used + 9 > BLOCK {
        compress(state, core::slice::from_ref(GenericArray::from_slice(second)));
    }
}

fn octets(state: &[u32; 5]) -> [u8; 20] {
    let mut octets = [0; 20];
    let (places, _) = octets.as_chunks_mut::<4>();
    places.iter_mut().zip(state).for_each(|(place, word)| *place = word.to_be_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_codes_of_rfc_2202() {
        let code = HmacSha1::new(&[0x0B; 20]).code(b"Hi There", &[]);
        assert_eq!(code, *b"\xb6\x17\x31\x86\x55\x05\x72\x64\xe2\x8b\xc0\xb6\xfb\x37\x8c\x8e\xf1\x46\xbe\x00");
        let code = HmacSha1::new(&[0xAA; 20]).code(&[0xDD; 50], &[]);
        assert_eq!(code, *b"\x12\x5d\x73\x42\xb9\xac\x11\xcd\x91\xa3\x9a\xf4\x8a\xa1\x7b\x4f\x63\xf1\x75\xd3");
        let code = HmacSha1::new(&[0x0C; 20]).code(b"Test With Truncation", &[]);
        assert_eq!(code[..12], *b"\x4c\x1a\x03\x42\x4b\x55\xe0\x7f\xe7\xf2\x7b\xe1");
    }

    #[test]
    fn a_suffix_is_part_of_the_message_at_every_length() {
        let message: Vec<u8> = (0..=255).collect();
        let hmac = HmacSha1::new(&[7; 20]);
        for length in 4..256 {
            let (whole, head, tail) = (&message[..length], &message[..length - 4], &message[length - 4..length]);
            assert_eq!(hmac.code(whole, &[]), hmac.code(head, tail), "{length}");
        }
    }
}
