//! `offhook keys`: vendors' secrets in the database, and what a configuration takes from there.

use std::fmt::Write as _;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Config;
use crate::providers::config::ApiKey;
use crate::providers::credentials::Vault;
use crate::store::Tables;

/// What is to be done.
pub enum KeysCommand {
    Generate,
    Add { provider: String, name: String, secret: SecretString },
    Remove { provider: String, name: String },
    Rotate,
    List,
}

/// Does it, beside a server that may be running; gives what to print.
///
/// # Errors
/// Why nothing was done. No secret is in it.
pub async fn run(config: &Config, command: KeysCommand) -> anyhow::Result<String> {
    let vault = vault(config).await?;
    match command {
        KeysCommand::Generate => Ok(format!("key {} made in {}\n", vault.generate()?, config.key_file().display())),
        KeysCommand::Add { provider, name, secret } => {
            vault.add(&provider, &name, &secret).await?;
            Ok(format!("credential {provider} {name} is kept\n"))
        }
        KeysCommand::Remove { provider, name } => match vault.remove(&provider, &name).await? {
            true => Ok(format!("credential {provider} {name} is forgotten\n")),
            false => anyhow::bail!("credential {provider} {name}: there is none"),
        },
        KeysCommand::Rotate => {
            let done = vault.rotate().await?;
            let how = if done.resumed { "a rotation that was cut off is at its end" } else { "rotated" };
            Ok(format!("{how}: {} credentials encrypted anew, all are under key {}\n", done.changed, done.key_id))
        }
        KeysCommand::List => list(&vault).await,
    }
}

async fn list(vault: &Vault) -> anyhow::Result<String> {
    let mut text = String::new();
    let rows = vault.list().await?;
    for row in &rows {
        let _ = writeln!(text, "{} {} {} {}", row.provider, row.name, row.key_id, row.changed_at);
    }
    for id in vault.keys()? {
        let count = rows.iter().filter(|row| row.key_id == id).count();
        let _ = writeln!(text, "key {id}: {count} credentials");
    }
    Ok(text)
}

/// Gives vendors that the configuration names no key for the one of the database. What a file, a variable or `--set` says
/// stands.
///
/// # Errors
/// The credentials cannot be read; nothing was changed.
pub async fn supply(config: &mut Config) -> anyhow::Result<()> {
    if !config.key_file().exists() || config.vendor_keys().iter().all(|(_, key)| key.is_some()) {
        return Ok(());
    }
    let kept = vault(config).await?.all().await.context("credentials")?;
    for (provider, key) in config.vendor_keys().into_iter().filter(|(_, key)| key.is_none()) {
        let secret = kept.iter().find(|(owner, name, _)| owner == provider && name == API_KEY);
        let secret = secret.map(|(_, _, secret)| ApiKey::new(secret.expose_secret().to_owned()));
        *key = secret.transpose().map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

async fn vault(config: &Config) -> anyhow::Result<Vault> {
    let tables = Tables::beside(&config.database, &config.data).await?;
    Ok(Vault::new(tables, config.key_file()))
}

/// The name of a vendor's one key.
pub const API_KEY: &str = "api_key";
