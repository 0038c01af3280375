//! The file of a recording, whatever its format.

use std::io;
use std::path::Path;

use super::opus::{self, OpusFile};
use super::tape::Block;
use super::wav::{self, WavFile};
use crate::config::RecordingFormat;

/// An open file that is added to.
pub(super) enum Media {
    Wav(WavFile),
    Opus(OpusFile),
}

impl Media {
    /// # Errors
    /// A file that is there already or cannot be made.
    pub(super) fn create(format: RecordingFormat, path: &Path) -> io::Result<Self> {
        match format {
            RecordingFormat::Wav => WavFile::create(path).map(Self::Wav),
            RecordingFormat::Opus => OpusFile::create(path).map(Self::Opus),
        }
    }

    pub(super) fn write(&mut self, block: &Block) {
        match self {
            Self::Wav(file) => file.write(block),
            Self::Opus(file) => file.write(block),
        }
    }

    /// Octets that the next [`Media::flush`] adds to the file.
    pub(super) fn waiting(&self) -> u64 {
        match self {
            Self::Wav(file) => file.waiting(),
            Self::Opus(file) => file.waiting(),
        }
    }

    /// Slots of 20 ms that the kernel has.
    pub(super) fn slots(&self) -> u32 {
        match self {
            Self::Wav(file) => file.slots(),
            Self::Opus(file) => file.slots(),
        }
    }

    /// Hands what was written to the kernel.
    ///
    /// # Errors
    /// The disk's; the file is playable up to the flush before.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.flush(),
            Self::Opus(file) => file.flush(),
        }
    }

    /// Ends the file and waits for the disk.
    ///
    /// # Errors
    /// The disk's; the file is playable all the same.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.finish(),
            Self::Opus(file) => file.finish(),
        }
    }
}

/// Makes a file whole that a dying process left. Gives the slots of 20 ms that it holds.
///
/// # Errors
/// A file that cannot be read or changed, or that is none of this format.
pub(super) fn repair(format: RecordingFormat, path: &Path) -> io::Result<u32> {
    match format {
        RecordingFormat::Wav => wav::repair(path),
        RecordingFormat::Opus => opus::repair(path),
    }
}
