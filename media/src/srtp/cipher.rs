//! AES in counter mode as RFC 3711 section 4.1.1 numbers its blocks, eight of them at a time so that the processor's
//! instructions overlap. The key schedule is made once.

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128Enc, Aes256Enc, Block};

/// A scheduled key; wiped when dropped.
#[expect(clippy::large_enum_variant, reason = "one key per direction of a call; a box would put it behind a pointer")]
pub(super) enum Cipher {
    Aes128(Aes128Enc),
    Aes256(Aes256Enc),
}

impl Cipher {
    /// `None` where `key` is neither 16 nor 32 octets.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(Self::Aes128),
            32 => Aes256Enc::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    /// XORs the key stream onto `data`. The first 14 octets of `start` stay as they are in every block, the last two
    /// count from 0.
    pub(super) fn apply(&self, start: &[u8; 14], data: &mut [u8]) {
        let mut first = [0; 16];
        first.iter_mut().zip(start).for_each(|(place, octet)| *place = *octet);
        let mut counter: u16 = 0;
        for data in data.chunks_mut(16 * AT_ONCE) {
            let mut blocks = [Block::from(first); AT_ONCE];
            let count = data.len().div_ceil(16);
            for block in blocks.iter_mut().take(count) {
                let [low, high] = counter.to_be_bytes();
                (block[14], block[15]) = (low, high);
                counter = counter.wrapping_add(1);
            }
            let used = blocks.split_at_mut(count.min(AT_ONCE)).0;
            match self {
                Self::Aes128(key) => key.encrypt_blocks(used),
                Self::Aes256(key) => key.encrypt_blocks(used),
            }
            for (data, stream) in data.chunks_mut(16).zip(used.iter()) {
                data.iter_mut().zip(stream).for_each(|(octet, stream)| *octet ^= stream);
            }
        }
    }
}

/// Blocks that are encrypted together.
const AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    /// Blocks 0, 1, 2 and 0xFEFF, 0xFF00, 0xFF01 of a key stream.
    fn blocks(key: &str) -> Vec<Vec<u8>> {
        let cipher = Cipher::new(&hex(key)).unwrap();
        let start: [u8; 14] = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap();
        let mut stream = vec![0; 16 * 0xFF02];
        cipher.apply(&start, &mut stream);
        [0, 1, 2, 0xFEFF, 0xFF00, 0xFF01].map(|n| stream[16 * n..16 * n + 16].to_vec()).to_vec()
    }

    #[test]
    fn gives_the_key_stream_of_rfc_3711_b2() {
        let wanted = [
            "e03ead0935c95e80e166b16dd92b4eb4",
            "d23513162b02d0f72a43a2fe4a5f97ab",
            "41e95b3bb0a2e8dd477901e4fca894c0",
            "ec8cdf7398607cb0f2d21675ea9ea1e4",
            "362b7c3c6773516318a077d7fc5073ae",
            "6a2cc3787889374fbeb4c81b17ba6c44",
        ];
        assert_eq!(blocks("2b7e151628aed2a6abf7158809cf4f3c"), wanted.map(hex));
    }

    #[test]
    fn gives_the_key_stream_of_rfc_6188_7_1() {
        let wanted = [
            "92bdd28a93c3f52511c677d08b5515a4",
            "9da71b2378a854f67050756ded165bac",
            "63c4868b7096d88421b563b8c94c9a31",
            "cea518c90fd91ced9cbb18c078a54711",
            "3dbc4814f4da5f00a08772b63c6a046d",
            "6eb246913062a16891433e97dd01a57f",
        ];
        assert_eq!(blocks("57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98"), wanted.map(hex));
    }

    #[test]
    fn any_length_is_the_beginning_of_the_longest() {
        let cipher = Cipher::new(&[3; 16]).unwrap();
        let mut longest = [0; 300];
        cipher.apply(&[5; 14], &mut longest);
        for length in 0..300 {
            let mut data = vec![0; length];
            cipher.apply(&[5; 14], &mut data);
            assert_eq!(data, longest[..length]);
        }
    }
}
