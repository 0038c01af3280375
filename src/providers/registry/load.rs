//! Reading the registry: the file, strictly, and the database, which is made to agree with it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::build::{Secrets, account, variable};
use super::entry::{Catalogue, Client, Entry};
use super::{Listed, Registry, RegistryError, State};
use crate::config::{ConfigError, parse_file};
use crate::providers::config::ApiKey;
use crate::store::{KeptProvider, Origin};

/// Where entries and keys of the process's surroundings come from.
#[derive(Clone)]
pub struct Source {
    /// None is what comes with the program.
    pub file: Option<PathBuf>,
    /// A variable of the environment.
    pub variable: fn(&str) -> Option<String>,
}

impl Source {
    /// The entries as the file has them at this moment.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn entries(&self) -> Result<Vec<Entry>, ConfigError> {
        let Some(path) = &self.file else { return read("apis_database.yaml (built in)", BUILT_IN) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            origin: crate::config::Origin::BuiltIn,
            key: "registry.file".to_owned(),
            message: format!("{name}: {error}"),
        })?;
        read(&name, &text)
    }

    /// The key of an account in the variable `ACCOUNT_API_KEY`.
    fn key(&self, account: &str) -> Option<ApiKey> {
        let told = (self.variable)(&variable(account)).filter(|key| !key.is_empty());
        told.and_then(|key| ApiKey::new(key).ok())
    }
}

/// Reads the text of a registry file.
///
/// # Errors
/// The first thing that does not hold, with its place.
pub fn read(name: &str, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let file = parse_file::<Catalogue>(name, text)?;
    let mut seen = BTreeSet::new();
    for (place, entry) in file.value.providers.iter().enumerate() {
        let at = format!("providers[{place}]");
        if !seen.insert(&entry.id) {
            return Err(file.error(&format!("{at}.id"), &format!("{} stands twice", entry.id.as_str())));
        }
        entry.check().map_err(|error| {
            let (key, message) = error.split_once(": ").unwrap_or(("", &error));
            file.error(&format!("{at}.{key}"), message)
        })?;
    }
    if file.value.providers.len() > MOST {
        return Err(file.error("providers", &format!("expected at most {MOST}")));
    }
    Ok(file.value.providers)
}

impl Registry {
    /// Reads file, database and keys again. Without the database the file alone is known from then on.
    ///
    /// # Errors
    /// The file cannot be used; what was known stays.
    pub async fn reload(&self) -> Result<(), RegistryError> {
        let _alone = self.0.changing.lock().await;
        let entries = self.0.source.entries()?;
        let kept = match self.0.tables.was_reached() {
            true => self.kept_entries(&entries).await,
            false => Err("the database is away".to_owned()),
        };
        let before = self.0.state.load_full();
        let (listed, secrets, degraded) = match kept {
            Ok((listed, secrets)) => (listed, secrets, None),
            Err(why) => (from_file(entries, &before), before.secrets.clone(), Some(why)),
        };
        let secrets = self.with_variables(secrets, &listed);
        let generation = before.generation + 1;
        if let Some(why) = &degraded {
            tracing::error!(why, "the registry is read from its file; what was changed by the API is not known");
        }
        self.0.state.store(Arc::new(State { generation, listed, secrets, degraded }));
        Ok(())
    }

    /// What the database knows once it agrees with the file.
    async fn kept_entries(&self, entries: &[Entry]) -> Result<(Vec<Listed>, Secrets), String> {
        let rows: Vec<KeptProvider> = entries.iter().filter_map(|entry| kept(entry, Origin::File)).collect();
        self.0.tables.replace_file_providers(&rows).await.map_err(|error| error.to_string())?;
        let rows = self.0.tables.providers().await.map_err(|error| error.to_string())?;
        let listed = rows.into_iter().filter_map(listed).collect();
        let mut secrets = Secrets::new();
        for (account, _, secret) in self.0.vault.all().await.map_err(|error| error.to_string())? {
            if let Ok(key) = ApiKey::of(secret) {
                secrets.insert(account, key);
            }
        }
        Ok((listed, secrets))
    }

    /// Variables go before what the database keeps.
    fn with_variables(&self, mut secrets: Secrets, listed: &[Listed]) -> Secrets {
        for entry in listed.iter().map(|listed| &listed.entry) {
            let account = account(entry).or(entry.client.map(Client::section));
            if let Some((account, key)) = account.and_then(|account| Some((account, self.0.source.key(account)?))) {
                secrets.insert(account.to_owned(), key);
            }
        }
        secrets
    }
}

/// The entry as a row.
pub(super) fn kept(entry: &Entry, origin: Origin) -> Option<KeptProvider> {
    let (id, category) = (entry.id.as_str().to_owned(), entry.category.as_str().to_owned());
    // An entry is made of texts and numbers: nothing that JSON cannot say.
    Some(KeptProvider { id, category, origin, entry: serde_json::to_string(entry).ok()?, disabled: None })
}

fn listed(row: KeptProvider) -> Option<Listed> {
    match serde_json::from_str(&row.entry) {
        Ok(entry) => Some(Listed { entry, origin: row.origin, disabled: row.disabled }),
        Err(error) => {
            tracing::warn!(provider = row.id, %error, "this version cannot read the entry; it is passed over");
            None
        }
    }
}

/// The file's entries, with what was switched off as far as that was known.
fn from_file(entries: Vec<Entry>, before: &State) -> Vec<Listed> {
    let disabled = |entry: &Entry| {
        let known = before.listed.iter().find(|listed| listed.entry.id == entry.id);
        known.and_then(|listed| listed.disabled.clone())
    };
    entries.into_iter().map(|entry| Listed { disabled: disabled(&entry), origin: Origin::File, entry }).collect()
}

/// Entries of one file.
const MOST: usize = 1000;

/// What comes with the program.
pub const BUILT_IN: &str = include_str!("../../../config/apis_database.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "providers:\n  - id: a\n    category: stt\n    title: A\n    client: deepgram\n    quality: 3\n";

    #[test]
    fn the_file_that_comes_with_the_program_is_sound_and_knows_every_category() {
        let entries = read("x", BUILT_IN).unwrap();
        for category in super::super::entry::Category::ALL {
            assert!(entries.iter().any(|entry| entry.category == category), "{}", category.as_str());
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        assert_eq!(read("a.yaml", GOOD).unwrap().len(), 1);
        for (change, with, expected) in [
            ("category: stt", "category: sst", "a.yaml:3: providers[0].category: "),
            ("quality: 3", "quality: 6", "a.yaml:6: providers[0].quality: expected 1 to 5"),
            ("quality: 3", "qualtiy: 3", "a.yaml:6: providers[0].qualtiy: "),
            ("client: deepgram", "client: anthropic", "a.yaml:5: providers[0].client: anthropic does not serve stt"),
            (
                "quality: 3",
                "quality: 3\n    price: {usd: -1, per: minute}",
                "providers[0].price.usd: expected US dollars",
            ),
            (
                "quality: 3",
                "quality: 3\n    price: {usd: 1, per: request}",
                "a.yaml:7: providers[0].price.per: expected minute for stt",
            ),
            ("quality: 3", "quality: 3\n    languages: [english]", "providers[0].languages[0]: "),
            ("quality: 3", "quality: 3\n    base_url: 'https://u:p@h'", "providers[0].base_url: expected an address"),
            ("id: a", "id: A b", "providers[0].id: expected a name"),
        ] {
            let error = read("a.yaml", &GOOD.replace(change, with)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let twice = format!("{GOOD}{}", GOOD.trim_start_matches("providers:\n"));
        let error = read("a.yaml", &twice).unwrap_err().to_string();
        assert!(error.contains("a.yaml:7: providers[1].id: a stands twice"), "{error}");
    }
}
