//! The key `recording`: whether calls are recorded, as what, where, how much of the disk, and with whose consent.
//!
//! Deliberately absent: how long recordings are kept. Nothing here deletes one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kinds::bounded;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordingConfig {
    /// Records every call whose flow does not say otherwise; false records nothing, whatever a flow says.
    pub enabled: bool,
    pub format: RecordingFormat,
    /// None takes `recordings` in `data.dir`. Made at start, for the owner only.
    pub dir: Option<PathBuf>,
    /// Bytes of all recordings together. At this bound new recordings do not start and running ones end.
    #[serde(deserialize_with = "bounded::<_, _, 1_000_000, 1_000_000_000_000_000>")]
    pub max_disk_bytes: u64,
    /// Bytes that recording leaves free on its file system; below it, as at the bound.
    #[serde(deserialize_with = "bounded::<_, _, 0, 1_000_000_000_000_000>")]
    pub min_free_bytes: u64,
    pub consent: Consent,
    /// What is announced or asked where a flow has no words of its own for it.
    pub announcement: Option<String>,
    /// What a caller is told whose recording was announced and then fails, where a flow has no words of its own for it.
    pub failure: Option<String>,
    /// Tones of keys in the caller's audio are replaced by silence.
    pub mute_keys: bool,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            format: RecordingFormat::Wav,
            dir: None,
            max_disk_bytes: 50_000_000_000,
            min_free_bytes: 1_000_000_000,
            consent: Consent::Announce,
            announcement: None,
            failure: None,
            mute_keys: true,
        }
    }
}

impl RecordingConfig {
    /// Where recordings lie, given `data.dir`.
    pub fn folder(&self, data: &Path) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| data.join("recordings"))
    }
}

/// What a recording is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingFormat {
    /// 16-bit PCM at 8 kHz, two channels: 115 MB an hour.
    Wav,
    /// Opus in Ogg, a stream for each side, 32 kbit/s together: at most some 15 MB an hour.
    Opus,
}

impl RecordingFormat {
    const ALL: [Self; 2] = [Self::Wav, Self::Opus];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Opus => "opus",
        }
    }

    /// The format that [`RecordingFormat::as_str`] names.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The end of a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Opus => "opus",
        }
    }

    pub fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.extension() == extension)
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Opus => "audio/ogg",
        }
    }
}

/// What comes before the first recorded moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// Nothing.
    None,
    /// The caller has heard that the call is recorded.
    Announce,
    /// The caller has agreed, by key or word.
    Ask,
}

impl Consent {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Announce => "announce",
            Self::Ask => "ask",
        }
    }
}
