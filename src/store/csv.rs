//! The turns as CSV files, one for each UTC day, for whoever prefers a spreadsheet (RFC 4180).
//!
//! A file holds the rows of `user_sessions` with the same figures. It follows the database: what a killed process did
//! not append is appended from the table at the next start, so the table stays the truth.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::row::Turn;

/// Appends turns to the file of their day.
#[derive(Debug)]
pub(super) struct CsvFiles {
    folder: PathBuf,
    open: Option<(String, File)>,
}

impl CsvFiles {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: None }
    }

    /// Appends the turns, each to the file of its own day, and hands them to the kernel.
    pub(super) fn append(&mut self, turns: &[Turn]) -> io::Result<()> {
        for same_day in turns.chunk_by(|a, b| day(&a.at) == day(&b.at)) {
            let Some(first) = same_day.first() else { continue };
            let mut text = String::new();
            same_day.iter().for_each(|turn| write_turn(&mut text, turn));
            let written = self.file(day(&first.at)).and_then(|file| file.write_all(text.as_bytes()));
            if written.is_err() {
                // Open again next time: a half-written row is ended then.
                self.open = None;
            }
            written?;
        }
        Ok(())
    }

    /// Makes the file of `day` hold exactly `turns` when it does not. Returns whether it had to be written.
    pub(super) fn make_equal(&mut self, day: &str, turns: &[Turn]) -> io::Result<bool> {
        let mut text = HEADER.to_owned();
        turns.iter().for_each(|turn| write_turn(&mut text, turn));
        let path = self.path(day);
        match fs::read(&path) {
            Ok(found) if found == text.as_bytes() => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound && turns.is_empty() => return Ok(false),
            _ => {}
        }
        self.open = None;
        let new = path.with_extension("csv.new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        Ok(true)
    }

    /// The days that have a file, newest first.
    pub(super) fn days(&self) -> io::Result<Vec<String>> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let day = name.to_str().and_then(|name| name.strip_prefix("turns-")?.strip_suffix(".csv"));
            days.extend(day.filter(|day| day.len() == DAY).map(str::to_owned));
        }
        days.sort_unstable_by(|a, b| b.cmp(a));
        Ok(days)
    }

    fn file(&mut self, day: &str) -> io::Result<&mut File> {
        let path = self.path(day);
        let open = self.open.take().filter(|(open, _)| open == day);
        let file = match open {
            Some((_, file)) => file,
            None => open_at_line_start(&path)?,
        };
        Ok(&mut self.open.insert((day.to_owned(), file)).1)
    }

    fn path(&self, day: &str) -> PathBuf {
        self.folder.join(format!("turns-{day}.csv"))
    }
}

/// Opens for appending; a new file gets its header, a row that was cut short gets its end.
fn open_at_line_start(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        file.write_all(HEADER.as_bytes())?;
        return Ok(file);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\r\n")?;
    }
    Ok(file)
}

/// The UTC day of a time in RFC 3339.
pub(super) fn day(at: &str) -> &str {
    at.get(..DAY).unwrap_or(at)
}

fn write_turn(out: &mut String, turn: &Turn) {
    let ms = |ms: Option<f64>| ms.map(|ms| ms.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        turn.at.clone(),
        turn.call.clone(),
        turn.number.to_string(),
        turn.step.clone(),
        text(&turn.caller_words),
        turn.keys_pressed.map(|keys| keys.to_string()).unwrap_or_default(),
        text(&turn.heard),
        text(&turn.unheard),
        ms(turn.asr_ms),
        ms(turn.llm_ms),
        ms(turn.tts_ms),
        ms(turn.total_ms),
        ms(turn.barge_in_ms),
        text(&turn.error),
    ];
    let line: Vec<Cow<'_, str>> = cells.iter().map(|cell| quoted(cell)).collect();
    // Writing to a String cannot fail.
    let _ = write!(out, "{}\r\n", line.join(","));
}

/// RFC 4180 section 2; a cell that a spreadsheet would run as a formula is made text by a leading apostrophe.
fn quoted(cell: &str) -> Cow<'_, str> {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if !formula && !cell.contains([',', '"', '\r', '\n']) {
        return Cow::Borrowed(cell);
    }
    let apostrophe = if formula { "'" } else { "" };
    Cow::Owned(format!("\"{apostrophe}{}\"", cell.replace('"', "\"\"")))
}

/// Characters of `2026-11-21`.
const DAY: usize = 10;
const HEADER: &str = "at,call_id,number,step,caller_words,keys_pressed,heard,unheard,asr_ms,llm_ms,tts_ms,total_ms,\
    barge_in_ms,error\r\n";

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use super::*;

    fn turn(at: &str, number: u32, words: &str) -> Turn {
        Turn {
            call: "c1".into(),
            number,
            at: at.into(),
            step: "ask".into(),
            caller_words: Some(words.into()),
            asr_ms: Some(120.5),
            ..Turn::default()
        }
    }

    fn read(folder: &Folder, day: &str) -> String {
        fs::read_to_string(folder.path().join(format!("turns-{day}.csv"))).unwrap()
    }

    #[test]
    fn turns_at_midnight_go_to_the_file_of_their_own_day() {
        let folder = Folder::new();
        let mut files = CsvFiles::new(folder.path());
        let late = turn("2026-11-21T23:59:59.999999Z", 1, "a");
        let early = turn("2026-11-22T00:00:00.000000Z", 2, "b");
        // A batch may straddle midnight, and a turn may be written late.
        files.append(&[late.clone(), early.clone()]).unwrap();
        files.append(&[turn("2026-11-21T23:59:58.000000Z", 3, "c")]).unwrap();
        let first = read(&folder, "2026-11-21");
        assert_eq!(first.lines().count(), 3, "{first}");
        assert!(first.starts_with("at,call_id,number,") && first.ends_with("c1,3,ask,c,,,,120.5,,,,,\r\n"), "{first}");
        assert_eq!(read(&folder, "2026-11-22").lines().count(), 2);
        assert_eq!(files.days().unwrap(), ["2026-11-22", "2026-11-21"]);
    }

    #[test]
    fn a_spreadsheet_reads_back_what_was_said() {
        assert_eq!(quoted("yes"), "yes");
        assert_eq!(quoted("yes, \"please\"\nnow"), "\"yes, \"\"please\"\"\nnow\"");
        for formula in ["=1+1", "+1", "-1", "@a", "\t=1", "=\"a\""] {
            let cell = quoted(formula);
            assert!(cell.starts_with("\"'"), "{cell}");
        }
    }

    #[test]
    fn a_row_cut_short_does_not_spoil_the_next() {
        let folder = Folder::new();
        let path = folder.path().join("turns-2026-11-21.csv");
        fs::write(&path, format!("{HEADER}2026-11-21T10:00:00.0000")).unwrap();
        CsvFiles::new(folder.path()).append(&[turn("2026-11-21T10:00:01.000000Z", 1, "a")]).unwrap();
        assert_eq!(read(&folder, "2026-11-21").lines().count(), 3);
        // And at the next start the file is made equal to the table.
        let all = [turn("2026-11-21T10:00:00.000000Z", 0, "z"), turn("2026-11-21T10:00:01.000000Z", 1, "a")];
        let mut files = CsvFiles::new(folder.path());
        assert!(files.make_equal("2026-11-21", &all).unwrap());
        assert!(!files.make_equal("2026-11-21", &all).unwrap());
        files.append(&[turn("2026-11-21T10:00:02.000000Z", 2, "b")]).unwrap();
        assert_eq!(read(&folder, "2026-11-21").lines().count(), 4);
    }
}
