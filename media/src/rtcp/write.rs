//! Compound packets of ours: a report, our name, and at the end a farewell (RFC 3550 section 6.1).

use super::compound::{REPORT, Report, SenderInfo};

/// A canonical name of random letters (RFC 7022): it says nothing about the machine or the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cname([u8; NAME]);

impl Cname {
    /// Letters made of random bits.
    pub fn new(random: u128) -> Self {
        let mut name = [0; NAME];
        for (place, letter) in name.iter_mut().enumerate() {
            let part = u8::try_from(random >> (5 * place) & 0x1F).unwrap_or_default();
            *letter = if part < 26 { b'a' + part } else { b'0' + part - 26 };
        }
        Self(name)
    }
}

/// Writes into a buffer that is large enough by construction; what does not fit is left out and the length says so.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, length: 0 }
    }

    pub(super) fn report(&mut self, ssrc: u32, info: Option<SenderInfo>, report: Option<Report>) {
        let blocks = u8::from(report.is_some());
        let words = 1 + if info.is_some() { 5 } else { 0 } + usize::from(blocks) * REPORT / 4;
        self.head(blocks, if info.is_some() { 200 } else { 201 }, words);
        self.word(ssrc);
        if let Some(info) = info {
            self.put(&info.ntp.to_be_bytes());
            self.word(info.rtp_timestamp);
            self.word(info.packets);
            self.word(info.octets);
        }
        if let Some(report) = report {
            let lost = report.lost.to_be_bytes();
            self.word(report.ssrc);
            self.put(&[report.fraction_lost]);
            self.put(lost.get(1..).unwrap_or_default());
            self.word(report.highest_sequence);
            self.word(report.jitter);
            self.word(report.last_sr);
            self.word(report.delay_since_last_sr);
        }
    }

    pub(super) fn name(&mut self, ssrc: u32, cname: &Cname) {
        // The items end with a zero octet, and the chunk at a word.
        let padding = 4 - (2 + NAME) % 4;
        self.head(1, 202, 1 + (2 + NAME + padding) / 4);
        self.word(ssrc);
        self.put(&[1, NAME_LEN]);
        self.put(&cname.0);
        self.put([0; 4].get(..padding).unwrap_or_default());
    }

    pub(super) fn bye(&mut self, ssrc: u32) {
        self.head(1, 203, 1);
        self.word(ssrc);
    }

    pub(super) const fn length(&self) -> usize {
        self.length
    }

    fn head(&mut self, count: u8, kind: u8, words: usize) {
        let words = u16::try_from(words).unwrap_or_default().to_be_bytes();
        self.put(&[0x80 | count, kind]);
        self.put(&words);
    }

    fn word(&mut self, word: u32) {
        self.put(&word.to_be_bytes());
    }

    fn put(&mut self, octets: &[u8]) {
        let room = self.out.get_mut(self.length..).unwrap_or_default();
        self.length += room.iter_mut().zip(octets).map(|(place, octet)| *place = *octet).count();
    }
}

/// Letters of a name: 80 bits of chance, less than the 96 of RFC 7022, enough for a name that two parties see.
const NAME: usize = 16;
const NAME_LEN: u8 = 16;
