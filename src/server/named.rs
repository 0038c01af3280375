//! The files and folders that a configuration names, looked at before anything starts: a file that is missing or bad is a
//! mistake in the configuration, whoever meets it.
//!
//! Deliberately absent: programs and databases, which may come and go while the server runs.

use std::path::Path;

use super::chains;
use crate::config::{Config, Loaded, Origin};
use crate::dialog::Catalogue;
use crate::providers::hook::Hooks;
use crate::recording;
use crate::transport::sip::tls::Tls;

/// Looks at all of them.
///
/// # Errors
/// The first one that cannot be used, with its key and the reason, in one line.
pub fn check(loaded: &Loaded) -> Result<Catalogue, String> {
    let config = &loaded.config;
    let blamed = |error: String| loaded.error(&error).to_string();
    // Without a folder of its own the program has flows and lines that come with it.
    if loaded.origin("flows.dir") != Origin::BuiltIn {
        folder("flows.dir", &config.flows.dir, true).map_err(blamed)?;
    }
    let catalogue = Catalogue::load(&config.flows.dir).map_err(|error| error.to_string())?;
    folder("data.dir", &config.data.dir, false).map_err(blamed)?;
    services(config, &catalogue).map_err(blamed)?;
    if config.recording.enabled {
        if let Some(dir) = &config.recording.dir {
            folder("recording.dir", dir, false).map_err(blamed)?;
        }
        if let Some(flow) = catalogue.cannot_tell(&recording::plan(&config.recording)) {
            return Err(blamed(recording::no_words_in(flow.name())));
        }
    }
    Tls::load(&config.sip.tls).map_err(blamed)?;
    chains::providers(config).map_err(|error| error.to_string())?;
    Ok(catalogue)
}

/// Every service that a flow asks is there.
fn services(config: &Config, catalogue: &Catalogue) -> Result<(), String> {
    let hooks = Hooks::new(&config.hooks)?;
    for flow in catalogue.flows() {
        if let Some((step, name)) = flow.hook_names().find(|(_, name)| !hooks.has(name)) {
            return Err(format!(
                "hooks.targets: expected `{name}`, which step `{step}` of flow `{}` asks",
                flow.name()
            ));
        }
    }
    Ok(())
}

/// One that is made at start where it is not there; a file in its place or on the way to it is in the way of that.
fn folder(key: &str, path: &Path, must_exist: bool) -> Result<(), String> {
    for (at, part) in path.ancestors().enumerate().filter(|(_, part)| !part.as_os_str().is_empty()) {
        match std::fs::metadata(part) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => return Err(format!("{key}: {}: expected a folder, found a file", part.display())),
            Err(error) if at == 0 && must_exist => return Err(format!("{key}: {}: {error}", part.display())),
            // A file on the way is found as the next part.
            Err(_) => {}
        }
    }
    Ok(())
}
