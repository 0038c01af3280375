//! How much of the disk recordings have, and whether there is room for another one.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::config::RecordingConfig;

/// Whether a recording may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Open,
    /// The file system is full, or nearly.
    Full,
    /// Recordings have all that they may have.
    AtBound,
}

impl Room {
    pub(super) const fn as_u8(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Full => 1,
            Self::AtBound => 2,
        }
    }

    pub(super) const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Open,
            1 => Self::Full,
            _ => Self::AtBound,
        }
    }
}

/// The folder and its bounds.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    most: u64,
    spare: u64,
    /// Bytes of all recordings, finished or not.
    used: u64,
    /// Bytes that others may still take on the file system.
    free: u64,
}

impl Disk {
    pub(super) fn new(folder: &Path, config: &RecordingConfig) -> io::Result<Self> {
        let folder = folder.to_owned();
        let mut disk = Self { folder, most: config.max_disk_bytes, spare: config.min_free_bytes, used: 0, free: 0 };
        disk.count()?;
        disk.look();
        Ok(disk)
    }

    /// Counts the files again: others may have removed some.
    pub(super) fn count(&mut self) -> io::Result<()> {
        let mut used = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            // A file that goes away meanwhile takes no room.
            used += entry?.metadata().map_or(0, |metadata| metadata.len());
        }
        self.used = used;
        Ok(())
    }

    /// Asks the file system; where it does not answer, writing will tell.
    pub(super) fn look(&mut self) {
        self.free =
            statvfs(&self.folder).map_or(u64::MAX, |stat| stat.blocks_available().saturating_mul(stat.fragment_size()));
    }

    /// Whether a recording may begin: there is room for a minute of it.
    pub(super) fn room(&self) -> Room {
        if self.used.saturating_add(MINUTE) > self.most {
            Room::AtBound
        } else if self.free < self.spare.saturating_add(MINUTE) {
            Room::Full
        } else {
            Room::Open
        }
    }

    /// Whether a recording may go on by so many bytes.
    pub(super) fn allows(&self, bytes: u64) -> Room {
        if self.used.saturating_add(bytes) > self.most {
            Room::AtBound
        } else if self.free < self.spare.saturating_add(bytes) {
            Room::Full
        } else {
            Room::Open
        }
    }

    pub(super) fn took(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
        self.free = self.free.saturating_sub(bytes);
    }

    pub(super) fn gave_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}

/// What a minute of the larger format takes, in bytes.
const MINUTE: u64 = 60 * 32_000;
