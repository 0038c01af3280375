//! Files of weights that local vendors need: which there are, where they lie, and whether what lies there is what it claims
//! to be. Weights come with no package; `offhook models fetch` brings them once, and nothing is fetched while calls run.

pub mod fetch;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `models`: where files of weights lie, and which are known besides those that come with the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    pub dir: PathBuf,
    /// Files of one's own. One of a name that is known already takes its place.
    pub also: Vec<Model>,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("data/models"), also: Vec::new() }
    }
}

/// A file of weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Small letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Its name in `models.dir`.
    pub file: String,
    pub url: String,
    pub bytes: u64,
    /// Of the whole file, 64 hexadecimal digits.
    pub sha256: String,
    #[serde(default)]
    pub licence: String,
}

/// What there is of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    Absent,
    /// So many bytes of it.
    Partly(u64),
    /// Of the right length; its content was not looked at.
    There,
    /// Of another length.
    Wrong(u64),
}

impl ModelsConfig {
    /// # Errors
    /// Names the key of what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        for (index, model) in self.also.iter().enumerate() {
            model.validate().map_err(|error| format!("models.also[{index}].{error}"))?;
        }
        Ok(())
    }

    /// All that are known, by name.
    pub fn all(&self) -> Vec<Model> {
        let own = |model: &Model| self.also.iter().any(|own| own.name == model.name);
        let known = KNOWN.iter().map(Known::model).filter(|model| !own(model));
        let mut all: Vec<Model> = known.chain(self.also.iter().cloned()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// # Errors
    /// When none has that name: says which there are.
    pub fn find(&self, name: &str) -> Result<Model, String> {
        let all = self.all();
        let found = all.iter().find(|model| model.name == name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|model| model.name.as_str()).collect();
            format!("no model is called `{name}`; expected one of {}", names.join(", "))
        })
    }

    pub fn path(&self, model: &Model) -> PathBuf {
        self.dir.join(&model.file)
    }

    pub fn presence(&self, model: &Model) -> Presence {
        let length = |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        match (length(&self.path(model)), length(&part_of(&self.path(model)))) {
            (Some(length), _) if length == model.bytes => Presence::There,
            (Some(length), _) => Presence::Wrong(length),
            (None, Some(length)) => Presence::Partly(length),
            (None, None) => Presence::Absent,
        }
    }
}

impl Model {
    fn validate(&self) -> Result<(), String> {
        let plain = |text: &str| {
            let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
            !text.is_empty() && !text.starts_with('.') && text.bytes().all(known)
        };
        if !plain(&self.name) {
            return Err(format!("name: `{}`; expected small letters, digits, `.`, `_` and `-`", self.name));
        }
        if !plain(&self.file.to_ascii_lowercase()) {
            return Err(format!("file: `{}`; expected a name without a directory", self.file));
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("sha256: expected 64 hexadecimal digits".to_owned());
        }
        if self.bytes == 0 {
            return Err("bytes: 0; expected the length of the file".to_owned());
        }
        let url = reqwest::Url::parse(&self.url).map_err(|error| format!("url: not a URL: {error}"))?;
        if !matches!(url.scheme(), "https" | "http") || !url.username().is_empty() || url.password().is_some() {
            return Err("url: expected http or https, without a user".to_owned());
        }
        Ok(())
    }
}

/// Whether the file is what it claims to be.
///
/// # Errors
/// When it cannot be read, or is not: says what was expected and found.
pub fn verify(path: &Path, model: &Model) -> Result<(), String> {
    let at = path.display();
    let length = std::fs::metadata(path).map_err(|error| format!("{at}: {error}"))?.len();
    if length != model.bytes {
        return Err(format!("{at}: {length} bytes, expected {}", model.bytes));
    }
    let found = sha256_of(path).map_err(|error| format!("{at}: {error}"))?;
    if !found.eq_ignore_ascii_case(&model.sha256) {
        return Err(format!("{at}: SHA-256 {found}, expected {}", model.sha256));
    }
    Ok(())
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(piece.get(..read).unwrap_or_default());
    }
}

/// Where a file lies while it is being fetched.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

struct Known {
    name: &'static str,
    file: &'static str,
    bytes: u64,
    sha256: &'static str,
}

impl Known {
    fn model(&self) -> Model {
        Model {
            name: self.name.to_owned(),
            file: self.file.to_owned(),
            url: format!("{WHISPER}{}", self.file),
            bytes: self.bytes,
            sha256: self.sha256.to_owned(),
            licence: "MIT".to_owned(),
        }
    }
}

/// Where the authors of whisper.cpp publish OpenAI's weights in its format.
const WHISPER: &str = "https://huggingface.co/ggerganov/whisper.cpp/resolve/main/";

const KNOWN: [Known; 6] = [
    Known {
        name: "whisper-tiny",
        file: "ggml-tiny.bin",
        bytes: 77_691_713,
        sha256: "be07e048e1e599ad46341c8d2a135645097a538221678b7acdd1b1919c6e1b21",
    },
    Known {
        name: "whisper-tiny.en",
        file: "ggml-tiny.en.bin",
        bytes: 77_704_715,
        sha256: "921e4cf8686fdd993dcd081a5da5b6c365bfde1162e72b08d75ac75289920b1f",
    },
    Known {
        name: "whisper-base",
        file: "ggml-base.bin",
        bytes: 147_951_465,
        sha256: "60ed5bc3dd14eea856493d334349b405782ddcaf0028d4b5df4088345fba2efe",
    },
    Known {
        name: "whisper-base.en",
        file: "ggml-base.en.bin",
        bytes: 147_964_211,
        sha256: "a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002",
    },
    Known {
        name: "whisper-small",
        file: "ggml-small.bin",
        bytes: 487_601_967,
        sha256: "1be3a9b2063867b937e64e2ec7483364a79917e157fa98c5d94b5c1fffea987b",
    },
    Known {
        name: "whisper-small.en",
        file: "ggml-small.en.bin",
        bytes: 487_614_201,
        sha256: "c6138d6d58ecc8322097e0f987c32f1be8bb0a18532a3f88f734d1bbf9c41e5d",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> Result<ModelsConfig, String> {
        let config: ModelsConfig = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config.validate().map(|()| config)
    }

    const OWN: &str = "{name: whisper-base.en, file: own.bin, url: 'http://127.0.0.1:1/own', bytes: 3, sha256: SHA}";

    #[test]
    fn every_file_that_is_known_is_described_well() {
        for model in ModelsConfig::default().all() {
            assert_eq!(model.validate(), Ok(()), "{}", model.name);
        }
        let unknown = ModelsConfig::default().find("whisper-huge").unwrap_err();
        assert!(unknown.contains("whisper-huge") && unknown.contains("whisper-base.en"), "{unknown}");
    }

    #[test]
    fn a_file_of_ones_own_takes_the_place_of_one_that_is_known() {
        let config = config(&format!("also: [{}]", OWN.replace("SHA", &"a".repeat(64)))).unwrap();
        assert_eq!(config.all().len(), KNOWN.len());
        assert_eq!(config.find("whisper-base.en").unwrap().file, "own.bin");
    }

    #[test]
    fn what_is_wrong_with_a_file_of_ones_own_is_named() {
        let own = OWN.replace("SHA", &"a".repeat(64));
        for (from, to, at) in [
            ("own.bin", "../own.bin", "models.also[0].file"),
            ("whisper-base.en", "Whisper Base", "models.also[0].name"),
            ("bytes: 3", "bytes: 0", "models.also[0].bytes"),
            ("aaaa", "a", "models.also[0].sha256"),
            ("http://127", "ftp://127", "models.also[0].url"),
            ("http://127", "http://me:secret@127", "models.also[0].url"),
        ] {
            let error = config(&format!("also: [{}]", own.replacen(from, to, 1))).unwrap_err();
            assert!(error.starts_with(at) && !error.contains("secret"), "{error}");
        }
    }
}
