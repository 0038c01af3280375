//! What callers were told of lists that are told one item a call (a fact, a tip), so that nobody hears the same twice in a
//! row: in memory for whoever begins a call, in a file of the data folder for the next process.
//!
//! A line is a pseudonym, a list and an item; the pseudonym means nothing without the key beside it. Deliberately
//! absent: the database. Losing this costs a repetition, and a call must not wait for it.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hmac::{Hmac, Mac as _};
use parking_lot::Mutex;
use sha2::Sha256;

use crate::telemetry::pii::Pii;

/// By caller: the lists and what was told of each.
type ByCaller = HashMap<u64, VecDeque<(Arc<str>, u32)>>;

/// The lists of a caller and what was told of each, the latest first.
pub type ToldBefore = Vec<(Arc<str>, u32)>;

/// Cheap to clone; every clone is the same memory.
#[derive(Clone)]
pub struct Told(Arc<Shared>);

struct Shared {
    key: [u8; 32],
    callers: Mutex<ByCaller>,
    lines: SyncSender<String>,
}

/// One caller's part of it; handed to their call.
#[derive(Clone)]
pub struct ToldCaller {
    told: Told,
    caller: u64,
}

impl Told {
    /// Reads what is in `dir`, drops what is too old, and starts the thread that writes.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let key = key(dir)?;
        let path = dir.join("told.txt");
        let callers = read(&path)?;
        let mut file = rewritten(&path, &callers)?;
        let (lines, inbox): (_, Receiver<String>) = sync_channel(WAITING);
        std::thread::Builder::new().name("told".to_owned()).spawn(move || {
            for line in inbox {
                // A full disk costs a repetition.
                let _ = file.write_all(line.as_bytes());
            }
        })?;
        Ok(Self(Arc::new(Shared { key, callers: Mutex::new(callers), lines })))
    }

    /// The memory of one caller.
    pub fn of(&self, caller: &Pii<String>) -> ToldCaller {
        let plain: String = caller.expose().chars().filter(|c| c.is_alphanumeric()).collect();
        let name = Hmac::<Sha256>::new_from_slice(&self.0.key).ok().map(|mut mac| {
            mac.update(plain.as_bytes());
            let digest = mac.finalize().into_bytes();
            digest.iter().take(8).fold(0_u64, |name, byte| (name << 8) | u64::from(*byte))
        });
        ToldCaller { told: self.clone(), caller: name.unwrap_or_default() }
    }
}

impl ToldCaller {
    /// What this caller was told in earlier calls.
    pub fn before(&self) -> ToldBefore {
        self.told.0.callers.lock().get(&self.caller).map(|told| told.iter().cloned().collect()).unwrap_or_default()
    }

    /// They are being told it now.
    pub fn note(&self, list: &str, item: u32) {
        remember(&mut self.told.0.callers.lock(), self.caller, list, item);
        // What does not fit is forgotten with this process.
        let _ = self.told.0.lines.try_send(format!("{:016x} {list} {item}\n", self.caller));
    }
}

fn remember(callers: &mut ByCaller, caller: u64, list: &str, item: u32) {
    if callers.len() >= MOST_CALLERS && !callers.contains_key(&caller) {
        return;
    }
    let told = callers.entry(caller).or_default();
    told.push_front((list.into(), item));
    told.truncate(MOST_ITEMS);
}

fn read(path: &Path) -> io::Result<ByCaller> {
    let mut callers = HashMap::new();
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        let caller = words.next().and_then(|name| u64::from_str_radix(name, 16).ok());
        // The last line of a killed process may be cut: it is passed over.
        if let (Some(caller), Some(list), Some(Ok(item))) = (caller, words.next(), words.next().map(str::parse)) {
            remember(&mut callers, caller, list, item);
        }
    }
    Ok(callers)
}

/// The file with what is remembered and nothing else, open for more.
fn rewritten(path: &Path, callers: &ByCaller) -> io::Result<File> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let mut text = String::new();
    for (caller, told) in callers {
        text.extend(told.iter().rev().map(|(list, item)| format!("{caller:016x} {list} {item}\n")));
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    OpenOptions::new().append(true).open(path)
}

fn key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join("told.key");
    if let Some(found) = fs::read(&path).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()) {
        return Ok(found);
    }
    let key: [u8; 32] = rand::random();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&key)?;
    Ok(key)
}

/// Lines that may wait for the disk.
const WAITING: usize = 1024;
/// Of one caller, all lists together.
const MOST_ITEMS: usize = 128;
const MOST_CALLERS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_was_told_is_known_after_a_restart_and_names_nobody() {
        let dir = std::env::temp_dir().join(format!("offhook-told-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let caller = Pii::new("+250788123456".to_owned());
        let told = Told::open(&dir).unwrap();
        told.of(&caller).note("f/a", 3);
        told.of(&caller).note("f/a", 5);
        let expected: ToldBefore = vec![("f/a".into(), 5), ("f/a".into(), 3)];
        assert_eq!(told.of(&Pii::new("+250 788 123 456".to_owned())).before(), expected);
        assert!(told.of(&Pii::new("+250788123457".to_owned())).before().is_empty());
        let path = dir.join("told.txt");
        while fs::read_to_string(&path).unwrap().lines().count() < 2 {
            std::thread::yield_now();
        }
        // What a killed process leaves.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"00ff f/").unwrap();
        assert_eq!(Told::open(&dir).unwrap().of(&caller).before(), expected);
        let kept = fs::read_to_string(&path).unwrap();
        assert!(!kept.contains("788") && kept.lines().count() == 2, "{kept}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn memory_is_bounded() {
        let mut callers = HashMap::new();
        (0..1000).for_each(|item| remember(&mut callers, 1, "l", item));
        assert_eq!(callers[&1].len(), MOST_ITEMS);
        assert_eq!(callers[&1].front().map(|(_, item)| *item), Some(999));
    }
}
