//! Vendors' secrets: encrypted in the database, under keys that lie in a file apart from it.
//!
//! AES-256-GCM with a random nonce; what a secret is for (provider and name) and the key's id are authenticated with it,
//! so that no row can stand in for another. Deliberately absent: any way to print a secret.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::store::{SealedCredential, StoreError, Tables};

/// `credentials`: where the keys are that vendors' secrets in the database are encrypted under.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialsConfig {
    /// None is `credentials.key` in the data folder.
    pub key_file: Option<PathBuf>,
}

/// Why a secret cannot be kept or had. Names what it is about and never what it says.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {what}", .file.display())]
    File { file: PathBuf, what: String },
    #[error("{}: there is no key yet; make one by `offhook keys generate`", .file.display())]
    NoKey { file: PathBuf },
    #[error("{}: there is a key; `offhook keys rotate` makes another in its place", .file.display())]
    HasKey { file: PathBuf },
    #[error("credential {provider} {name}: encrypted under key {key_id}, which is not in the key file")]
    UnknownKey { provider: String, name: String, key_id: String },
    #[error("credential {provider} {name}: cannot be decrypted; the row or the key {key_id} was changed")]
    Damaged { provider: String, name: String, key_id: String },
    #[error("credential {provider} {name}: {what}")]
    Refused { provider: String, name: String, what: &'static str },
}

/// The database's credentials with the keys to them.
#[derive(Clone, Debug)]
pub struct Vault {
    tables: Tables,
    file: PathBuf,
}

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The key that everything is encrypted under.
    pub key_id: String,
    pub changed: usize,
    /// Whether a rotation was brought to its end that had been cut off.
    pub resumed: bool,
}

impl Vault {
    /// `file` holds the keys; it need not be there yet.
    pub const fn new(tables: Tables, file: PathBuf) -> Self {
        Self { tables, file }
    }

    /// Makes the first key; its id.
    ///
    /// # Errors
    /// There is one already, or the file cannot be written.
    pub fn generate(&self) -> Result<String, CredentialError> {
        let _held = self.hold()?;
        let ring = KeyRing::read(&self.file)?;
        if !ring.keys.is_empty() {
            return Err(CredentialError::HasKey { file: self.file.clone() });
        }
        let key = Key::fresh();
        let id = key.id.clone();
        KeyRing { keys: vec![key] }.write(&self.file)?;
        Ok(id)
    }

    /// Keeps a secret under the newest key, in place of one of the same name.
    ///
    /// # Errors
    /// A name or secret that cannot be used, no key, or a database that does not take it.
    pub async fn add(&self, provider: &str, name: &str, secret: &SecretString) -> Result<(), CredentialError> {
        let refused = |what| CredentialError::Refused { provider: provider.to_owned(), name: name.to_owned(), what };
        if !is_name(provider) || !is_name(name) {
            return Err(refused("expected names of a-z, 0-9, - and _, at most 64 characters"));
        }
        let text = secret.expose_secret();
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refused("expected a secret of printable ASCII without spaces, at most 4096 bytes"));
        }
        let _held = self.hold()?;
        let ring = KeyRing::read(&self.file)?;
        let key = ring.newest().ok_or_else(|| CredentialError::NoKey { file: self.file.clone() })?;
        self.tables.put_credential(&key.seal(provider, name, text)?).await?;
        Ok(())
    }

    /// A secret; none was kept.
    ///
    /// # Errors
    /// It cannot be read or decrypted.
    pub async fn find(&self, provider: &str, name: &str) -> Result<Option<SecretString>, CredentialError> {
        for attempt in 1.. {
            let Some(row) = self.tables.credential(provider, name).await? else { return Ok(None) };
            match KeyRing::read(&self.file)?.open(&row) {
                // Between the two reads a rotation came to its end: the row is another by now.
                Err(CredentialError::UnknownKey { .. }) if attempt < READS => {}
                done => return done.map(Some),
            }
        }
        Ok(None)
    }

    /// Every credential as the database shows it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list(&self) -> Result<Vec<SealedCredential>, CredentialError> {
        Ok(self.tables.credentials().await?)
    }

    /// Every secret, by provider and name.
    ///
    /// # Errors
    /// The first one that cannot be read or decrypted.
    pub async fn all(&self) -> Result<Vec<(String, String, SecretString)>, CredentialError> {
        let mut all = Vec::new();
        for row in self.tables.credentials().await? {
            if let Some(secret) = self.find(&row.provider, &row.name).await? {
                all.push((row.provider, row.name, secret));
            }
        }
        Ok(all)
    }

    /// The ids of the keys in the file, the one that encrypts last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn keys(&self) -> Result<Vec<String>, CredentialError> {
        Ok(KeyRing::read(&self.file)?.keys.into_iter().map(|key| key.id).collect())
    }

    /// Forgets a secret; false when there was none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn remove(&self, provider: &str, name: &str) -> Result<bool, CredentialError> {
        let _held = self.hold()?;
        Ok(self.tables.drop_credential(provider, name).await?)
    }

    /// Encrypts everything under another key. The key is in the file before any row needs it, all rows change in one
    /// transaction, and the old key goes when no row needs it: whoever reads meanwhile finds row and key. One that was
    /// cut off has left more keys than one; the next one ends it instead of beginning another.
    ///
    /// # Errors
    /// Nothing to rotate, a file or database that cannot be written, or a row that cannot be decrypted.
    pub async fn rotate(&self) -> Result<Rotated, CredentialError> {
        let _held = self.hold()?;
        let mut ring = KeyRing::read(&self.file)?;
        let resumed = match ring.keys.len() {
            0 => return Err(CredentialError::NoKey { file: self.file.clone() }),
            1 => {
                ring.keys.push(Key::fresh());
                ring.write(&self.file)?;
                false
            }
            _ => true,
        };
        let Some(newest) = ring.newest() else { return Err(CredentialError::NoKey { file: self.file.clone() }) };
        let reseal = |row: &SealedCredential| {
            if row.key_id == newest.id {
                return Ok(None);
            }
            let secret = ring.open(row)?;
            newest.seal(&row.provider, &row.name, secret.expose_secret()).map(Some)
        };
        let changed = self.tables.reseal(reseal).await?;
        let key_id = newest.id.clone();
        ring.keys.retain(|key| key.id == key_id);
        ring.write(&self.file)?;
        Ok(Rotated { key_id, changed, resumed })
    }

    /// Keeps other commands from changing keys or credentials meanwhile; the kernel lets go at any death.
    fn hold(&self) -> Result<File, CredentialError> {
        let failed = |error: io::Error| file_error(&self.file, &error);
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let path = self.file.with_extension("lock");
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }
}

/// Keys in the order in which they were made.
struct KeyRing {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl KeyRing {
    /// A file that is not there holds no key.
    fn read(file: &Path) -> Result<Self, CredentialError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { keys: Vec::new() }),
            Err(error) => return Err(file_error(file, &error)),
        };
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let what = || format!("line {number}: expected the id of a key and 32 bytes in base64");
            let key = Key::parse(line).ok_or_else(|| CredentialError::File { file: file.to_owned(), what: what() })?;
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// Whole or not at all, readable by its owner only, and on the disk when it returns.
    fn write(&self, file: &Path) -> Result<(), CredentialError> {
        let failed = |error: io::Error| file_error(file, &error);
        let fresh = file.with_extension("new");
        let mut text = Zeroizing::new(HEADER.to_owned());
        for key in &self.keys {
            let encoded = Zeroizing::new(STANDARD.encode(*key.bytes));
            text.push_str(&key.id);
            text.push(' ');
            text.push_str(&encoded);
            text.push('\n');
        }
        let options = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh);
        let mut open = options.map_err(failed)?;
        open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).map_err(failed)?;
        fs::rename(&fresh, file).map_err(failed)?;
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    fn newest(&self) -> Option<&Key> {
        self.keys.last()
    }

    fn open(&self, row: &SealedCredential) -> Result<SecretString, CredentialError> {
        let SealedCredential { provider, name, key_id, .. } = row;
        let (provider, name, key_id) = (provider.clone(), name.clone(), key_id.clone());
        match self.keys.iter().find(|key| key.id == key_id) {
            None => Err(CredentialError::UnknownKey { provider, name, key_id }),
            Some(key) => key.open(row).ok_or(CredentialError::Damaged { provider, name, key_id }),
        }
    }
}

impl Key {
    fn fresh() -> Self {
        Self { id: format!("k{:08x}", rand::random::<u32>()), bytes: Zeroizing::new(rand::random()) }
    }

    fn parse(line: &str) -> Option<Self> {
        let (id, encoded) = line.split_once(' ')?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).ok()?;
        is_name(id).then(|| Self { id: id.to_owned(), bytes: Zeroizing::new(bytes) })
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, self.bytes.as_slice()).ok()
    }

    fn seal(&self, provider: &str, name: &str, secret: &str) -> Result<SealedCredential, CredentialError> {
        let mut sealed = secret.as_bytes().to_vec();
        let nonce = self
            .cipher()
            .and_then(|cipher| cipher.seal_in_place_append_tag(self.bound_to(provider, name), &mut sealed).ok());
        let refused = || CredentialError::Refused {
            provider: provider.to_owned(),
            name: name.to_owned(),
            what: "cannot be encrypted",
        };
        let nonce = nonce.ok_or_else(refused)?;
        Ok(SealedCredential::now(provider, name, &self.id, nonce.as_ref().to_vec(), sealed))
    }

    fn open(&self, row: &SealedCredential) -> Option<SecretString> {
        let nonce = Nonce::try_assume_unique_for_key(&row.nonce).ok()?;
        let mut sealed = Zeroizing::new(row.sealed.clone());
        let bound_to = self.bound_to(&row.provider, &row.name);
        let secret = self.cipher()?.open_in_place(nonce, bound_to, &mut sealed).ok()?;
        Some(std::str::from_utf8(secret).ok()?.into())
    }

    /// What is authenticated along with the secret. Names hold no line end.
    fn bound_to(&self, provider: &str, name: &str) -> Aad<Vec<u8>> {
        Aad::from(format!("offhook credential 1\n{provider}\n{name}\n{}", self.id).into_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

fn file_error(file: &Path, error: &io::Error) -> CredentialError {
    CredentialError::File { file: file.to_owned(), what: error.to_string() }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

/// Bytes of the longest secret.
const LONGEST: usize = 4096;

/// How often a row is read that a rotation may be changing.
const READS: u32 = 5;

const HEADER: &str = "# Keys of the credentials in the database: without this file nobody reads those. Back it up apart \
     from the database.\n# The last one encrypts; more than one means that a rotation was cut off: offhook keys rotate.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
        let (key, other) = (Key::fresh(), Key::fresh());
        let sealed = key.seal("deepgram", "api_key", "hunter2").unwrap();
        assert!(!sealed.sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(key.open(&sealed).unwrap().expose_secret(), "hunter2");
        let again = key.seal("deepgram", "api_key", "hunter2").unwrap();
        assert_ne!((again.nonce, again.sealed), (sealed.nonce.clone(), sealed.sealed.clone()), "nonces are fresh");
        assert!(other.open(&sealed).is_none());
        for change in [
            |row: &mut SealedCredential| row.provider = "openai".to_owned(),
            |row: &mut SealedCredential| row.name = "other".to_owned(),
            |row: &mut SealedCredential| row.sealed[0] ^= 1,
            |row: &mut SealedCredential| row.nonce[0] ^= 1,
            |row: &mut SealedCredential| {
                let _ = row.nonce.pop();
            },
            |row: &mut SealedCredential| row.sealed.truncate(3),
        ] {
            let mut changed = sealed.clone();
            change(&mut changed);
            assert!(key.open(&changed).is_none(), "{changed:?}");
        }
        let renamed = Key { id: "k00000000".to_owned(), bytes: key.bytes.clone() };
        assert!(renamed.open(&sealed).is_none(), "the key's id is bound too");
    }

    #[test]
    fn a_key_file_is_its_owners_and_errors_do_not_quote_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = crate::store::testing::Folder::new();
        let file = folder.path().join("credentials.key");
        assert!(KeyRing::read(&file).unwrap().keys.is_empty());
        KeyRing { keys: vec![Key::fresh(), Key::fresh()] }.write(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(KeyRing::read(&file).unwrap().keys.len(), 2);
        for text in ["k1 aHVudGVyMg==\n", "hunter2\n", "K! hunter2\n"] {
            fs::write(&file, text).unwrap();
            let error = KeyRing::read(&file).err().unwrap().to_string();
            assert!(
                error.contains("line 1: expected") && !error.contains("hunter2") && !error.contains("aHV"),
                "{error}"
            );
        }
    }
}
