//! A recording as a WAV file that is whole at every moment: audio is appended first, then the header is brought up to
//! it in place. A process that dies between the two leaves the file of half a second before.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use offhook_media::resample::Rate;
use offhook_media::wav;

use super::tape::Block;

/// An open file of two channels at 8 kHz.
#[derive(Debug)]
pub(super) struct WavFile {
    file: File,
    /// Octets of audio that the header counts.
    counted: u64,
    waiting: Vec<u8>,
}

impl WavFile {
    /// Makes the file, for its owner only.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all_at(&header(0)?, 0)?;
        Ok(Self { file, counted: 0, waiting: Vec::with_capacity(ROOM) })
    }

    pub(super) fn write(&mut self, block: &Block) {
        block.iter().for_each(|sample| self.waiting.extend_from_slice(&sample.to_le_bytes()));
    }

    /// Octets that the next [`WavFile::flush`] adds to the file.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.counted / SLOT).unwrap_or(u32::MAX)
    }

    /// Hands what was written to the kernel. After an error the file is as it was before, and nothing is waiting.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let counted = self.counted + waiting.len() as u64;
        let header = header(counted)?;
        self.file.write_all_at(&waiting, HEADER + self.counted)?;
        self.file.write_all_at(&header, 0)?;
        self.counted = counted;
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }

    /// Ends the file with what the header counts and waits for the disk.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.set_len(HEADER + self.counted)?;
        self.file.sync_all()
    }
}

/// Makes a file whole that a dying process left. Gives the slots that it holds.
pub(super) fn repair(path: &Path) -> io::Result<u32> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    // The kernel has all that was handed to it, also what the header does not count yet.
    let audio = file.metadata()?.len().saturating_sub(HEADER);
    let slots = audio / SLOT;
    file.set_len(HEADER + slots * SLOT)?;
    file.write_all_at(&header(slots * SLOT)?, 0)?;
    file.sync_all()?;
    u32::try_from(slots).map_err(io::Error::other)
}

fn header(octets: u64) -> io::Result<[u8; 44]> {
    let octets = usize::try_from(octets).map_err(io::Error::other)?;
    wav::header(Rate::Hz8000, 2, octets).map_err(|error| io::Error::new(io::ErrorKind::FileTooLarge, error))
}

const HEADER: u64 = 44;
/// Octets of 20 ms.
const SLOT: u64 = size_of::<Block>() as u64;
/// Half a second and some more.
const ROOM: usize = 32 * size_of::<Block>();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Folder;
    use offhook_media::FRAME;

    #[test]
    fn the_file_is_whole_after_every_flush_and_after_a_torn_write() {
        let folder = Folder::new();
        let path = folder.path().join("a.wav");
        let mut file = WavFile::create(&path).unwrap();
        for seconds in 1..=3_usize {
            (0..50).for_each(|_| file.write(&[7; 2 * FRAME]));
            file.flush().unwrap();
            let wav = wav::Wav::parse(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!((wav.samples.len(), wav.channels), (seconds * 8000, 2));
        }
        file.file.write_all_at(&[1; 1000], HEADER + file.counted).unwrap();
        drop(file);
        assert_eq!(repair(&path).unwrap(), 151, "20 ms more are whole than the header counted");
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 44 + 151 * 640);
        assert_eq!(wav::Wav::parse(&bytes).unwrap().samples.len(), 151 * FRAME);
    }

    #[test]
    fn nobody_else_may_read_it_and_nothing_is_written_over() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        let path = folder.path().join("a.wav");
        WavFile::create(&path).unwrap().finish().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(WavFile::create(&path).is_err());
    }
}
