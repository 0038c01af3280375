//! Ogg pages (RFC 3533), written and read back. Pure: bytes in, bytes out.
//!
//! A page that is whole says so by its checksum, which is what makes a file of pages safe to be cut anywhere.
//! Deliberately absent: packets that span pages, and more than one stream in a file; ours need neither.

/// What a page's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// One of [`FIRST`] and [`LAST`], or 0.
    pub flags: u8,
    /// What the codec counts: samples, up to the end of this page.
    pub granule: u64,
    pub serial: u32,
    pub number: u32,
}

/// The first page of a stream.
pub(super) const FIRST: u8 = 0x02;
/// The last page of a stream.
pub(super) const LAST: u8 = 0x04;

impl Page {
    /// Appends the page with these packets. False, and nothing appended, when they do not fit a page.
    pub(super) fn write(&self, packets: &[impl AsRef<[u8]>], out: &mut Vec<u8>) -> bool {
        let lengths = packets.iter().map(|packet| packet.as_ref().len());
        let segments: usize = lengths.clone().map(segments).sum();
        let Ok(count) = u8::try_from(segments) else { return false };
        let begin = out.len();
        out.extend_from_slice(NAME);
        out.extend_from_slice(&[VERSION, self.flags]);
        out.extend_from_slice(&self.granule.to_le_bytes());
        out.extend_from_slice(&self.serial.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.push(count);
        for length in lengths {
            // A packet ends with the first segment below 255 (RFC 3533 section 5).
            out.extend(std::iter::repeat_n(255, length / 255));
            out.push(u8::try_from(length % 255).unwrap_or(0));
        }
        packets.iter().for_each(|packet| out.extend_from_slice(packet.as_ref()));
        if let Some(page) = out.get_mut(begin..) {
            sign(page);
        }
        true
    }

    /// The page at the beginning of `bytes`, and its length. `None`: it is cut short, damaged, or no page.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let head = bytes.get(..HEAD)?;
        if !head.starts_with(NAME) || head.get(4) != Some(&VERSION) {
            return None;
        }
        let count = usize::from(*head.get(26)?);
        let table = bytes.get(HEAD..HEAD + count)?;
        let length = HEAD + count + table.iter().map(|segment| usize::from(*segment)).sum::<usize>();
        let mut page = bytes.get(..length)?.to_vec();
        let found = four(head, 22)?;
        sign(&mut page);
        let granule = u64::from_le_bytes(head.get(6..14)?.try_into().ok()?);
        let read = Self { flags: *head.get(5)?, granule, serial: four(head, 14)?, number: four(head, 18)? };
        (four(&page, 22)? == found).then_some((read, length))
    }
}

/// Marks a whole page as the last one.
pub(super) fn mark_last(page: &mut [u8]) {
    if let Some(flags) = page.get_mut(5) {
        *flags |= LAST;
    }
    sign(page);
}

/// Segments that a packet of this length takes in a page's table.
pub(super) const fn segments(length: usize) -> usize {
    length / 255 + 1
}

/// Octets of a page's header before its table.
pub(super) const HEAD: usize = 27;
/// The most octets that a page can have.
pub(super) const LONGEST: usize = HEAD + 255 + 255 * 255;

fn four(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Puts the checksum of the whole page, with zeros in its place, into its header (RFC 3533 section 6).
fn sign(page: &mut [u8]) {
    if let Some(place) = page.get_mut(22..26) {
        place.fill(0);
    }
    let sum = page.iter().fold(0_u32, |sum, octet| {
        let index = (sum >> 24) as u8 ^ *octet;
        (sum << 8) ^ TABLE.get(usize::from(index)).copied().unwrap_or(0)
    });
    if let Some(place) = page.get_mut(22..26) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

const NAME: &[u8; 4] = b"OggS";
const VERSION: u8 = 0;

/// CRC-32 of the polynomial 0x04c11db7, not reflected.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut sum = (n as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000_0000 == 0 { sum << 1 } else { (sum << 1) ^ 0x04c1_1db7 };
            bit += 1;
        }
        table[n] = sum;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // CRC-32/MPEG-2 without its initial value: the check word of "123456789" for this polynomial is 0x89a1897f.
        let sum =
            b"123456789".iter().fold(0_u32, |sum, octet| (sum << 8) ^ TABLE[usize::from((sum >> 24) as u8 ^ octet)]);
        assert_eq!(sum, 0x89a1_897f);
    }

    #[test]
    fn a_page_holds_so_much_and_no_more() {
        let page = Page { flags: FIRST, granule: 0, serial: 1, number: 0 };
        let mut out = Vec::new();
        assert!(page.write(&vec![vec![0; 254]; 255], &mut out));
        assert!(out.len() <= LONGEST);
        out.clear();
        assert!(!page.write(&vec![vec![0; 254]; 256], &mut out) && out.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_what_is_cut_or_changed_is_not(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..50),
            granule in any::<u64>(),
            at in any::<prop::sample::Index>(),
        ) {
            let page = Page { flags: 0, granule, serial: 7, number: 9 };
            let mut out = Vec::new();
            prop_assert!(page.write(&packets, &mut out));
            prop_assert_eq!(Page::read(&out), Some((page, out.len())));
            let at = at.index(out.len());
            prop_assert_eq!(Page::read(&out[..at]), None);
            let mut changed = out.clone();
            changed[at] ^= 0x10;
            prop_assert_ne!(Page::read(&changed), Some((page, out.len())));
            mark_last(&mut out);
            prop_assert_eq!(Page::read(&out).map(|(page, _)| page.flags), Some(LAST));
        }

        #[test]
        fn any_bytes_are_a_page_or_not(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Page::read(&bytes);
            let _ = Page::read(&[&b"OggS\0"[..], &bytes].concat());
        }
    }
}
