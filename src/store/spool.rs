//! Rows that the database would not take, kept on disk in order until it does.
//!
//! One JSON row a line, synced before it counts as kept. A row is drained at least once and written exactly once: the
//! database ignores a row that it already has. Deliberately absent: reordering; nothing overtakes what waits here.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::row::Row;

/// The spool file.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    /// Bytes waiting.
    size: u64,
    /// Bytes at the front that were drained already.
    drained: u64,
    limit: u64,
}

impl Spool {
    /// Finds what an earlier process left.
    pub(super) fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        let path = folder.join("spool.jsonl");
        let size = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let mut spool = Self { path, size, drained: 0, limit };
        spool.cut_torn_end()?;
        Ok(spool)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.drained >= self.size
    }

    /// Keeps the rows, all or none, through a power cut. The disk is waited for on a thread of its own.
    ///
    /// # Errors
    /// A full disk or a spool at its limit.
    pub(super) async fn append(&mut self, rows: &[Row]) -> io::Result<()> {
        let mut text = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut text, row)?;
            text.push(b'\n');
        }
        let added = u64::try_from(text.len()).map_err(io::Error::other)?;
        if self.size.saturating_add(added) > self.limit {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, format!("the spool holds {} bytes", self.size)));
        }
        let (path, size) = (self.path.clone(), self.size);
        spawn_blocking(move || append_synced(&path, size, &text)).await.map_err(io::Error::other)??;
        self.size += added;
        Ok(())
    }

    /// The oldest rows, at most `most`, with the mark to give to [`Spool::done`]. A line that is no row (written by a
    /// newer program) is passed over and counted in the third place.
    pub(super) fn next(&self, most: usize) -> io::Result<(Vec<Row>, u64, u64)> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.drained))?;
        let mut reader = BufReader::new(file);
        let (mut rows, mut mark, mut unreadable) = (Vec::new(), self.drained, 0);
        let mut line = Vec::new();
        while rows.len() < most && mark < self.size {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            mark += u64::try_from(read).map_err(io::Error::other)?;
            match serde_json::from_slice(&line) {
                Ok(row) => rows.push(row),
                Err(_) => unreadable += 1,
            }
        }
        Ok((rows, mark, unreadable))
    }

    /// Rows up to `mark` are in the database. The file goes when nothing waits any more.
    pub(super) fn done(&mut self, mark: u64) -> io::Result<()> {
        self.drained = mark;
        if self.is_empty() && self.size > 0 {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            file.set_len(0)?;
            file.sync_all()?;
            (self.size, self.drained) = (0, 0);
        }
        Ok(())
    }

    /// Drops a last line that was being written when the process died: it never counted as kept.
    fn cut_torn_end(&mut self) -> io::Result<()> {
        if self.size == 0 {
            return Ok(());
        }
        let text = std::fs::read(&self.path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = u64::try_from(whole).map_err(io::Error::other)?;
        if whole < self.size {
            OpenOptions::new().write(true).open(&self.path)?.set_len(whole)?;
            self.size = whole;
        }
        Ok(())
    }
}

/// Appends to a file of `size` bytes, or leaves it as it was: what a full disk cut short must not begin the next line.
fn append_synced(path: &Path, size: u64, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text).and_then(|()| file.sync_data()).or_else(|error| file.set_len(size).and(Err(error)))
}

/// Bytes that may wait: days of calls, and not the whole disk.
pub(super) const LIMIT: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::super::row::Turn;
    use super::super::testing::Folder;
    use super::*;

    fn rows(numbers: std::ops::Range<u32>) -> Vec<Row> {
        numbers.map(|number| Row::Turn(Box::new(Turn { number, ..Turn::default() }))).collect()
    }

    #[tokio::test]
    async fn drains_in_order_across_processes() {
        let folder = Folder::new();
        let mut spool = Spool::open(folder.path(), LIMIT).unwrap();
        assert!(spool.is_empty());
        spool.append(&rows(0..3)).await.unwrap();
        spool.append(&rows(3..5)).await.unwrap();
        let (first, mark, _) = spool.next(2).unwrap();
        assert_eq!(first, rows(0..2));
        spool.done(mark).unwrap();
        spool.append(&rows(5..6)).await.unwrap();
        assert_eq!(spool.next(10).unwrap().0, rows(2..6));
        // A process that died before it was done gives everything again.
        let mut again = Spool::open(folder.path(), LIMIT).unwrap();
        let (all, mark, _) = again.next(10).unwrap();
        assert_eq!(all, rows(0..6));
        again.done(mark).unwrap();
        assert!(again.is_empty() && Spool::open(folder.path(), LIMIT).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_torn_last_line_was_never_kept() {
        let folder = Folder::new();
        Spool::open(folder.path(), LIMIT).unwrap().append(&rows(0..1)).await.unwrap();
        let path = folder.path().join("spool.jsonl");
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(br#"{"row":"turn","call":"#);
        std::fs::write(&path, &text).unwrap();
        let mut spool = Spool::open(folder.path(), LIMIT).unwrap();
        spool.append(&rows(1..2)).await.unwrap();
        assert_eq!(spool.next(10).unwrap().0, rows(0..2));
    }

    #[tokio::test]
    async fn is_bounded_and_passes_over_what_it_cannot_read() {
        let folder = Folder::new();
        std::fs::write(folder.path().join("spool.jsonl"), "{\"row\":\"from_the_future\"}\n").unwrap();
        let mut spool = Spool::open(folder.path(), 600).unwrap();
        spool.append(&rows(0..1)).await.unwrap();
        assert!(spool.append(&rows(1..9)).await.is_err(), "over its limit");
        let (kept, _, unreadable) = spool.next(10).unwrap();
        assert_eq!((kept, unreadable), (rows(0..1), 1));
    }
}
