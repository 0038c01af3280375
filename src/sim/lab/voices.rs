//! Recorded people: prompts of several readers, of which some may be used for tuning and the others judge.
//!
//! A directory holds one directory per reader, as Debian's packages of Asterisk's prompts do, and perhaps `moh` with music; the
//! bot's reader may stand in the directory itself.
//! Nothing is fetched here, and what is read is never written anywhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offhook_media::wav::Wav;

use super::signal::{BLOCK, Filter, RATE, active_dbfs, power, ratio};

/// Who the callers of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Readers by whom rules may be tuned.
    Tuning,
    /// Readers who judge: no rule has been tuned by them.
    HeldOut,
}

/// One prompt, band-limited as a telephone does, with its labels.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// Reader and file.
    pub name: Arc<str>,
    /// 8 kHz, sample units.
    pub wave: Arc<[f32]>,
    /// The first sample of speech (see [`onset`]).
    pub onset: usize,
    /// One past the last sample of speech: the end of the last 5 ms block within 25 dB of the active level.
    pub end: usize,
    /// Active speech level, dBFS.
    pub level_dbfs: f32,
}

/// All readers of a directory.
#[derive(Clone, Debug)]
pub struct Voices {
    readers: Vec<Reader>,
    music: Vec<Arc<[f32]>>,
}

/// Why a directory of voices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VoicesError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Wav { path: PathBuf, source: offhook_media::wav::WavError },
    #[error("{path}: {found} prompts of {reader}, at least {needed} are needed")]
    TooFew { path: PathBuf, reader: &'static str, found: usize, needed: usize },
}

impl Voices {
    /// Reads every reader below `dir`.
    ///
    /// # Errors
    /// Names the file that cannot be read, or the reader of whom there is too little.
    pub fn load(dir: &Path) -> Result<Self, VoicesError> {
        let mut readers = Vec::new();
        for (name, role) in READERS {
            let mut prompts = utterances(&dir.join(name), name)?;
            if role == Role::Bot && prompts.is_empty() {
                prompts = utterances(dir, name)?;
            }
            let mut words = utterances(&dir.join(name).join("digits"), name)?;
            words.extend(utterances(&dir.join(name).join("letters"), name)?);
            words.retain(|word| word.end - word.onset <= LONGEST_WORD);
            let found = prompts.len().min(words.len().max(usize::from(role == Role::Bot) * LEAST_PROMPTS));
            if found < LEAST_PROMPTS {
                return Err(VoicesError::TooFew { path: dir.join(name), reader: name, found, needed: LEAST_PROMPTS });
            }
            readers.push(Reader { role, prompts, words });
        }
        Ok(Self { readers, music: music(&dir.join("moh"))? })
    }

    /// Callers' prompts of at least 0.9 s of speech, reader by reader.
    pub fn callers(&self, split: Split) -> Vec<&[Utterance]> {
        self.of(Role::Caller(split)).map(|reader| &reader.prompts[..]).collect()
    }

    /// Callers' words shorter than 750 ms (digits and letters), reader by reader.
    pub fn words(&self, split: Split) -> Vec<&[Utterance]> {
        self.of(Role::Caller(split)).map(|reader| &reader.words[..]).collect()
    }

    /// What the bot says: other prompts for each split.
    pub fn bot(&self, split: Split) -> Vec<&Utterance> {
        let odd = usize::from(split == Split::HeldOut);
        let prompts = self.of(Role::Bot).flat_map(|reader| &reader.prompts).enumerate();
        prompts.filter(|(index, _)| index % 2 == odd).map(|(_, prompt)| prompt).collect()
    }

    /// Pieces of music, other ones for each split where there are enough; empty where the directory has none.
    pub fn music(&self, split: Split) -> &[Arc<[f32]>] {
        let (tuning, held_out) = self.music.split_at(self.music.len() * 3 / 5);
        match split {
            Split::Tuning if !tuning.is_empty() => tuning,
            Split::HeldOut if !held_out.is_empty() => held_out,
            _ => &self.music,
        }
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Reader> {
        self.readers.iter().filter(move |reader| reader.role == role)
    }
}

/// The first sample of speech: the first 5 ms block within 25 dB of the active level (and 8 dB above the recording's own
/// floor) with three of four such blocks and, in the next 200 ms, six within 15 dB of that level.
pub fn onset(wave: &[f32], level_dbfs: f32) -> Option<usize> {
    let blocks: Vec<f32> = wave.chunks_exact(BLOCK).map(power).collect();
    let speech = speech_power(&blocks, level_dbfs);
    let loud = active_power(level_dbfs) * ratio(-30.0);
    let count = |from: usize, length: usize, least: f32| {
        blocks.iter().skip(from).take(length).filter(|power| **power >= least).count()
    };
    let begins =
        |index: &usize| count(*index, 1, speech) == 1 && count(*index, 4, speech) >= 3 && count(*index, 40, loud) >= 6;
    (0..blocks.len()).find(begins).map(|index| index * BLOCK)
}

/// One past the last sample of speech.
pub fn end(wave: &[f32], level_dbfs: f32) -> Option<usize> {
    let blocks: Vec<f32> = wave.chunks_exact(BLOCK).map(power).collect();
    let least = speech_power(&blocks, level_dbfs);
    blocks.iter().rposition(|power| *power >= least).map(|index| (index + 1) * BLOCK)
}

#[derive(Clone, Debug)]
struct Reader {
    role: Role,
    prompts: Vec<Utterance>,
    words: Vec<Utterance>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Bot,
    Caller(Split),
}

/// Directories of Debian's packages, and what their readers are used for.
const READERS: [(&str, Role); 5] = [
    ("en_US_f_Allison", Role::Bot),
    ("es_MX_f_Allison", Role::Caller(Split::Tuning)),
    ("fr_CA_f_June", Role::Caller(Split::Tuning)),
    ("it_IT_m_Carlo", Role::Caller(Split::HeldOut)),
    ("ru_RU_f_IvrvoiceRU", Role::Caller(Split::HeldOut)),
];
/// No speech, or so long that one prompt would be a large part of a run.
const NO_PROMPTS: [&str; 8] =
    ["beep", "tone", "silence", "monkeys", "weasels", "glorious", "binaural", "demo-abouttotry"];
const LEAST_PROMPTS: usize = 3;
const SHORTEST: usize = RATE / 4;
const SHORTEST_SPEECH: usize = RATE * 9 / 10;
const LONGEST_WORD: usize = RATE * 3 / 4;

fn active_power(level_dbfs: f32) -> f32 {
    let amplitude = offhook_media::level::amplitude(level_dbfs);
    amplitude * amplitude
}

fn speech_power(blocks: &[f32], level_dbfs: f32) -> f32 {
    let mut sorted = blocks.to_vec();
    sorted.sort_by(f32::total_cmp);
    let floor = sorted.get(sorted.len() * 3 / 100).copied().unwrap_or(0.0);
    (active_power(level_dbfs) * ratio(-50.0)).max(floor * ratio(16.0))
}

/// The prompts of a directory in the order of their names; none where there is no such directory.
fn utterances(dir: &Path, reader: &str) -> Result<Vec<Utterance>, VoicesError> {
    let is_word = dir.ends_with("digits") || dir.ends_with("letters");
    let mut all = Vec::new();
    for path in wav_files(dir)? {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if NO_PROMPTS.iter().any(|no| stem.contains(no)) {
            continue;
        }
        let Some(utterance) = labelled(format!("{reader}/{stem}"), read(&path)?) else { continue };
        if is_word || utterance.end - utterance.onset >= SHORTEST_SPEECH {
            all.push(utterance);
        }
    }
    Ok(all)
}

fn labelled(name: String, mut wave: Vec<f32>) -> Option<Utterance> {
    if wave.len() < SHORTEST {
        return None;
    }
    Filter::telephone().run(&mut wave);
    let level_dbfs = active_dbfs(&wave);
    let (onset, end) = (onset(&wave, level_dbfs)?, end(&wave, level_dbfs)?);
    (end > onset).then(|| Utterance { name: name.into(), wave: wave.into(), onset, end, level_dbfs })
}

fn music(dir: &Path) -> Result<Vec<Arc<[f32]>>, VoicesError> {
    let files = wav_files(dir)?;
    files
        .iter()
        .map(|path| {
            let mut wave = read(path)?;
            Filter::telephone().run(&mut wave);
            Ok(wave.into())
        })
        .collect()
}

fn wav_files(dir: &Path) -> Result<Vec<PathBuf>, VoicesError> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let at = |source| VoicesError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|extension| extension == "wav") {
            paths.push(path);
        }
    }
    // Directories have no order of their own, and a seed must give the same trials everywhere.
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<f32>, VoicesError> {
    let octets = std::fs::read(path).map_err(|source| VoicesError::Read { path: path.to_owned(), source })?;
    let wav = Wav::parse(&octets).map_err(|source| VoicesError::Wav { path: path.to_owned(), source })?;
    Ok(wav.samples.iter().map(|&sample| f32::from(sample)).collect())
}
