//! A recording that is over on its way to its name: its checksum is taken in small steps, so that a long one does not
//! hold up those that go on.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::store::record::{CallId, RecordingEnded};

/// See the module's header.
#[derive(Debug)]
pub(super) struct Finishing {
    pub call: CallId,
    pub ended: RecordingEnded,
    from: PathBuf,
    to: PathBuf,
    file: File,
    digest: Sha256,
}

impl Finishing {
    /// The file at `from` is complete and gets the name `to`; both may be the same.
    pub(super) fn new(call: CallId, ended: RecordingEnded, from: PathBuf, to: PathBuf) -> io::Result<Self> {
        Ok(Self { call, ended, file: File::open(&from)?, from, to, digest: Sha256::new() })
    }

    /// Goes on by up to [`STEP`] bytes. True when the file has its name and the record its checksum.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        let mut some = [0; 64 * 1024];
        let mut read = 0;
        while read < STEP {
            match self.file.read(&mut some)? {
                0 => return self.rename().map(|()| true),
                length => {
                    self.digest.update(some.get(..length).unwrap_or_default());
                    self.ended.bytes += length as u64;
                    read += length;
                }
            }
        }
        Ok(false)
    }

    fn rename(&mut self) -> io::Result<()> {
        if self.from != self.to {
            fs::rename(&self.from, &self.to)?;
            if let Some(folder) = self.to.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        let digest = std::mem::take(&mut self.digest).finalize();
        self.ended.sha256 = Some(digest.iter().map(|byte| format!("{byte:02x}")).collect());
        Ok(())
    }
}

/// Bytes of one step: a few milliseconds of work.
const STEP: usize = 4 * 1024 * 1024;
