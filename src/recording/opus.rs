//! A recording as Opus in an Ogg file (RFC 6716, RFC 7845): a stream of its own for each side, so that neither leaks
//! into the other, in whole pages of half a second at most, so that the file plays wherever it ends.
//!
//! The comments name the program and nobody else.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use ::opus::{Application, Bitrate, MSEncoder};

use super::ogg::{self, FIRST, LAST, Page};
use super::tape::Block;

/// An open file of two channels.
pub(super) struct OpusFile {
    file: File,
    encoder: MSEncoder,
    pre_skip: u16,
    serial: u32,
    /// Octets and pages that the kernel has.
    length: u64,
    pages: u32,
    /// Packets of 20 ms that the kernel has.
    slots: u32,
    waiting: Vec<Vec<u8>>,
    /// An encoder that fails ends the recording at the next flush.
    failed: Option<io::Error>,
}

impl OpusFile {
    /// Makes the file, for its owner only.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut encoder = MSEncoder::new(8000, 2, 0, &[0, 1], Application::Voip).map_err(unusable)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE)).map_err(unusable)?;
        encoder.set_complexity(COMPLEXITY).map_err(unusable)?;
        let lookahead = encoder.get_lookahead().map_err(unusable)?;
        let pre_skip = u16::try_from(lookahead * PER_SAMPLE).map_err(io::Error::other)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let serial = rand::random();
        let (length, pages, slots, waiting) = (0, 0, 0, Vec::new());
        let mut made = Self { file, encoder, pre_skip, serial, length, pages, slots, waiting, failed: None };
        made.put(&[head(pre_skip)], FIRST, 0)?;
        made.put(&[tags()], 0, 0)?;
        Ok(made)
    }

    pub(super) fn write(&mut self, block: &Block) {
        let mut packet = [0; LONGEST_PACKET];
        match self.encoder.encode(block, &mut packet) {
            Ok(length) => self.waiting.push(packet.get(..length).unwrap_or_default().to_vec()),
            Err(error) => self.failed = Some(unusable(error)),
        }
    }

    /// Octets that the next [`OpusFile::flush`] adds to the file.
    pub(super) fn waiting(&self) -> u64 {
        let octets: usize = self.waiting.iter().map(|packet| packet.len() + ogg::segments(packet.len())).sum();
        (octets + ogg::HEAD * self.waiting.len().div_ceil(PER_PAGE)) as u64
    }

    pub(super) const fn slots(&self) -> u32 {
        self.slots
    }

    /// Hands what was written to the kernel, in whole pages. After an error the file ends with the page before.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let waiting = std::mem::take(&mut self.waiting);
        for packets in waiting.chunks(PER_PAGE) {
            let slots = self.slots + u32::try_from(packets.len()).map_err(io::Error::other)?;
            self.put(packets, 0, u64::from(slots) * PER_SLOT)?;
            self.slots = slots;
        }
        Ok(())
    }

    /// Ends the file and waits for the disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        // The encoder is behind its input by the pre-skip: one more packet holds the end, and the last page says where
        // in it the end is (RFC 7845 section 4.5).
        let end = u64::from(self.slots) * PER_SLOT + u64::from(self.pre_skip);
        let mut packet = [0; LONGEST_PACKET];
        let length = self.encoder.encode(&[0; size_of::<Block>() / 2], &mut packet).map_err(unusable)?;
        let last = self.put(&[packet.get(..length).unwrap_or_default()], LAST, end);
        if last.is_err() {
            self.file.set_len(self.length)?;
        }
        self.file.sync_all()?;
        last
    }

    fn put(&mut self, packets: &[impl AsRef<[u8]>], flags: u8, granule: u64) -> io::Result<()> {
        let mut page = Vec::new();
        if !(Page { flags, granule, serial: self.serial, number: self.pages }).write(packets, &mut page) {
            return Err(io::Error::other("packets that do not fit a page"));
        }
        self.file.write_all_at(&page, self.length)?;
        self.length += page.len() as u64;
        self.pages += 1;
        Ok(())
    }
}

/// Makes a file whole that a dying process left: it ends with its last whole page, which says so. Gives the slots of
/// 20 ms that can be played.
pub(super) fn repair(path: &Path) -> io::Result<u32> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut reader = BufReader::new(&file);
    let mut bytes = Vec::new();
    let mut whole = 0;
    let mut last: Option<(Page, Vec<u8>)> = None;
    let mut pre_skip = 0;
    loop {
        let missing = (ogg::LONGEST - bytes.len()) as u64;
        reader.by_ref().take(missing).read_to_end(&mut bytes)?;
        let Some((page, length)) = Page::read(&bytes) else { break };
        if page.flags & FIRST != 0 {
            pre_skip = bytes
                .get(ogg::HEAD + 1 + 10..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |two| u16::from_le_bytes(*two));
        }
        whole += length as u64;
        last = Some((page, bytes.drain(..length).collect()));
    }
    let (page, mut octets) =
        last.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no page of an Ogg file"))?;
    file.set_len(whole)?;
    if page.flags & LAST == 0 {
        ogg::mark_last(&mut octets);
        file.write_all_at(&octets, whole - octets.len() as u64)?;
    }
    file.sync_all()?;
    u32::try_from(page.granule.saturating_sub(pre_skip.into()) / PER_SLOT).map_err(io::Error::other)
}

/// RFC 7845 section 5.1, with the channel mapping of section 5.1.1.2: left and right, each a stream of its own.
fn head(pre_skip: u16) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend_from_slice(&pre_skip.to_le_bytes());
    head.extend_from_slice(&8000_u32.to_le_bytes());
    head.extend_from_slice(&[0, 0, 1, 2, 0, 0, 1]);
    head
}

/// RFC 7845 section 5.2, without any comment.
fn tags() -> Vec<u8> {
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&7_u32.to_le_bytes());
    tags.extend_from_slice(b"offhook");
    tags.extend_from_slice(&0_u32.to_le_bytes());
    tags
}

fn unusable(error: ::opus::Error) -> io::Error {
    io::Error::other(error)
}

/// Of both sides together, bits per second: toll quality for a narrow band.
const BITRATE: i32 = 32_000;
/// Of 0 to 10, as libopus counts it: a good part of the quality for a third of the work.
const COMPLEXITY: i32 = 3;
/// Granules of Ogg Opus are samples of 48 kHz (RFC 7845 section 4).
const PER_SAMPLE: i32 = 6;
const PER_SLOT: u64 = 960;
/// Packets of a page: half a second.
const PER_PAGE: usize = 25;
/// Both sides at the highest rate that variable rate comes to.
const LONGEST_PACKET: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use ::opus::MSDecoder;
    use offhook_media::FRAME;

    use super::*;
    use crate::store::testing::Folder;

    /// A tone on each side.
    fn block(slot: usize) -> Block {
        std::array::from_fn(|n| {
            let (side, at) = (n % 2, (slot * FRAME + n / 2) as f64 / 8000.0);
            let hz = if side == 0 { 500.0 } else { 1300.0 };
            ((TAU * hz * at).sin() * 8000.0) as i16
        })
    }

    fn written(path: &Path, slots: usize) -> OpusFile {
        let mut file = OpusFile::create(path).unwrap();
        for slot in 0..slots {
            file.write(&block(slot));
            if slot % 30 == 29 {
                let before = (file.length, file.waiting());
                file.flush().unwrap();
                assert_eq!(file.length, before.0 + before.1, "it said how much it would take");
            }
        }
        file.flush().unwrap();
        file
    }

    /// Every page of the file; panics at anything else in it.
    fn pages(bytes: &[u8]) -> Vec<(Page, Vec<Vec<u8>>)> {
        let (mut at, mut pages) = (0, Vec::new());
        while at < bytes.len() {
            let (page, length) = Page::read(&bytes[at..]).expect("a whole page");
            let count = usize::from(bytes[at + 26]);
            let (mut body, mut packets, mut packet) = (at + ogg::HEAD + count, Vec::new(), Vec::new());
            for segment in &bytes[at + ogg::HEAD..at + ogg::HEAD + count] {
                packet.extend_from_slice(&bytes[body..body + usize::from(*segment)]);
                body += usize::from(*segment);
                if *segment < 255 {
                    packets.push(std::mem::take(&mut packet));
                }
            }
            pages.push((page, packets));
            at += length;
        }
        pages
    }

    fn decoded(bytes: &[u8]) -> (Vec<i16>, Vec<i16>) {
        let pages = pages(bytes);
        let mut decoder = MSDecoder::new(8000, 2, 0, &[0, 1]).unwrap();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for packet in pages[2..].iter().flat_map(|(_, packets)| packets) {
            let mut samples = [0; 2 * FRAME];
            assert_eq!(decoder.decode(packet, &mut samples, false).unwrap(), FRAME);
            left.extend(samples.iter().step_by(2));
            right.extend(samples.iter().skip(1).step_by(2));
        }
        let skip = usize::from(u16::from_le_bytes([pages[0].1[0][10], pages[0].1[0][11]])) / 6;
        let end = usize::try_from(pages.last().unwrap().0.granule).unwrap() / 6;
        (left[skip..end.min(left.len())].to_vec(), right[skip..end.min(right.len())].to_vec())
    }

    /// Part of the power at a frequency, 0 to 1.
    fn share(samples: &[i16], hz: f64) -> f64 {
        let (mut real, mut imaginary, mut power) = (0.0, 0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let (value, phase) = (f64::from(*sample), TAU * hz * n as f64 / 8000.0);
            (real, imaginary) = (real + value * phase.cos(), imaginary + value * phase.sin());
            power += value * value;
        }
        2.0 * (real * real + imaginary * imaginary) / (samples.len() as f64 * power)
    }

    #[test]
    fn each_side_comes_back_by_itself_and_as_long_as_it_was() {
        let folder = Folder::new();
        let path = folder.path().join("a.opus");
        written(&path, 250).finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (left, right) = decoded(&bytes);
        assert_eq!((left.len(), right.len()), (250 * FRAME, 250 * FRAME));
        assert!(share(&left[800..], 500.0) > 0.98, "{}", share(&left[800..], 500.0));
        assert!(share(&right[800..], 1300.0) > 0.98, "{}", share(&right[800..], 1300.0));
        assert!(share(&left[800..], 1300.0) < 1e-4, "nothing of the other side");
        let all = pages(&bytes);
        assert_eq!((all[0].0.flags, all.last().unwrap().0.flags), (FIRST, LAST));
        assert!(all.iter().enumerate().all(|(n, (page, _))| page.number as usize == n));
        assert!(bytes.len() < 30_000, "{} octets for 5 s", bytes.len());
        assert!(!bytes.windows(4).any(|word| word.eq_ignore_ascii_case(b"sip:")));
    }

    #[test]
    fn a_file_cut_anywhere_plays_to_its_last_page() {
        let folder = Folder::new();
        let path = folder.path().join("a.opus");
        drop(written(&path, 120));
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 1, 40, 300] {
            std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
            let slots = repair(&path).unwrap();
            let whole = std::fs::read(&path).unwrap();
            assert_eq!(pages(&whole).last().unwrap().0.flags, LAST);
            let (left, _) = decoded(&whole);
            assert!(left.len() / FRAME == slots as usize && slots >= 85, "{slots} of 120 after {cut}");
            assert_eq!(repair(&path).unwrap(), slots, "it stays as it is");
        }
        std::fs::write(&path, b"no pages at all").unwrap();
        assert!(repair(&path).is_err());
    }
}
