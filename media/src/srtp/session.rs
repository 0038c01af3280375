//! Session keys: what the master key becomes for RTP and for RTCP (RFC 3711 section 4.3), and what is done with them.

use zeroize::Zeroizing;

use super::cipher::Cipher;
use super::hmac::{self, HmacSha1};
use super::{SrtpError, Suite};

/// Everything derived from one master key.
pub(super) struct SessionKeys {
    pub(super) suite: Suite,
    pub(super) rtp: Keys,
    pub(super) rtcp: Keys,
}

impl SessionKeys {
    pub(super) fn derive(suite: Suite, key_and_salt: &[u8]) -> Result<Self, SrtpError> {
        let wrong = SrtpError::KeyLength { expected: suite.key_len() + SALT, found: key_and_salt.len() };
        let (key, salt) = key_and_salt.split_at_checked(suite.key_len()).ok_or(wrong)?;
        let salt: &[u8; SALT] = salt.try_into().map_err(|_| wrong)?;
        let master = Cipher::new(key).ok_or(wrong)?;
        let keys = |first| Keys::derive(&master, salt, suite.key_len(), first).ok_or(wrong);
        Ok(Self { suite, rtp: keys(0)?, rtcp: keys(3)? })
    }
}

/// The keys of RTP, or those of RTCP.
pub(super) struct Keys {
    cipher: Cipher,
    salt: Zeroizing<[u8; SALT]>,
    hmac: HmacSha1,
}

impl Keys {
    /// Labels follow each other: encryption, authentication, salt.
    fn derive(master: &Cipher, salt: &[u8; SALT], key_len: usize, first_label: u8) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        let key = key.get_mut(..key_len)?;
        expand(master, salt, first_label, key);
        let mut authentication = Zeroizing::new([0; hmac::KEY]);
        expand(master, salt, first_label + 1, authentication.as_mut_slice());
        let mut session_salt = Zeroizing::new([0; SALT]);
        expand(master, salt, first_label + 2, session_salt.as_mut_slice());
        Some(Self { cipher: Cipher::new(key)?, salt: session_salt, hmac: HmacSha1::new(&authentication) })
    }

    /// Encrypts or decrypts (RFC 3711 section 4.1.1).
    pub(super) fn crypt(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut start = *self.salt;
        start.iter_mut().skip(4).zip(ssrc.to_be_bytes()).for_each(|(place, octet)| *place ^= octet);
        start.iter_mut().skip(8).zip(index.to_be_bytes().iter().skip(2)).for_each(|(place, octet)| *place ^= octet);
        self.cipher.apply(&start, data);
    }

    /// Writes the tag of `packet`, as long as `tag` is.
    pub(super) fn tag(&self, packet: &[u8], rollover: &[u8], tag: &mut [u8]) {
        let code = self.hmac.code(packet, rollover);
        tag.iter_mut().zip(code).for_each(|(place, octet)| *place = octet);
    }

    /// Whether `tag` is that of `packet`. Takes as long for a wrong one as for the right one.
    pub(super) fn verifies(&self, packet: &[u8], rollover: &[u8], tag: &[u8]) -> bool {
        let code = self.hmac.code(packet, rollover);
        let differences = tag.iter().zip(code).fold(0, |differences, (octet, right)| differences | (octet ^ right));
        core::hint::black_box(differences) == 0 && !tag.is_empty()
    }
}

const SALT: usize = 14;

/// The pseudo-random function with a derivation rate of 0: the label goes onto octet 7 of the salt.
fn expand(master: &Cipher, salt: &[u8; SALT], label: u8, out: &mut [u8]) {
    let mut start = *salt;
    if let Some(place) = start.get_mut(7) {
        *place ^= label;
    }
    master.apply(&start, out);
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    fn expanded(master: &str, salt: &str, label: u8, length: usize) -> Vec<u8> {
        let (master, salt) = (Cipher::new(&hex(master)).unwrap(), hex(salt).try_into().unwrap());
        let mut out = vec![0; length];
        expand(&master, &salt, label, &mut out);
        out
    }

    #[test]
    fn derives_the_keys_of_rfc_3711_b3() {
        let of =
            |label, length| expanded("e1f97a0d3e018be0d64fa32c06de4139", "0ec675ad498afeebb6960b3aabe6", label, length);
        assert_eq!(of(0, 16), hex("c61e7a93744f39ee10734afe3ff7a087"));
        assert_eq!(of(2, 14), hex("30cbbc08863d8c85d49db34a9ae1"));
        assert_eq!(of(1, 20), hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4"));
    }

    #[test]
    fn derives_the_keys_of_rfc_6188_7_2() {
        let master = "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6";
        let of = |label, length| expanded(master, "3b04803de51ee7c96423ab5b78d2", label, length);
        assert_eq!(of(0, 32), hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
        assert_eq!(of(2, 14), hex("fa31791685ca444a9e07c6c64e93"));
        assert_eq!(of(1, 20), hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
    }
}
