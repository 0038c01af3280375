//! `database.url`: which database keeps the records, read once and never shown with its password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// A SQLite file, or a database of a PostgreSQL server. Printing it tells no password.
#[derive(Clone)]
pub struct DatabaseUrl(Place);

/// Where records are kept.
#[derive(Clone)]
pub(super) enum Place {
    File(PathBuf),
    Server(Box<PgConnectOptions>),
}

impl DatabaseUrl {
    pub(super) fn place(&self) -> Place {
        self.0.clone()
    }

    /// Whether what is kept may cross a network unencrypted.
    pub fn is_clear_on_a_network(&self) -> bool {
        let Place::Server(server) = &self.0 else { return false };
        let host = server.get_host();
        let is_here =
            server.get_socket().is_some() || host == "localhost" || host.starts_with('/') || is_loopback(host);
        let may_be_clear = matches!(server.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
        !is_here && may_be_clear
    }
}

impl Place {
    /// The file that holds the records where none is named.
    pub(super) fn default_in(dir: &Path) -> Self {
        Self::File(dir.join("offhook.db"))
    }

    /// What logs and errors call it: for a server without user and password.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Server(server) => {
                let database = server.get_database().unwrap_or_else(|| server.get_username());
                match server.get_socket() {
                    Some(socket) => format!("postgres:{}:{}/{database}", socket.display(), server.get_port()),
                    None => format!("postgres://{}:{}/{database}", server.get_host(), server.get_port()),
                }
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl FromStr for DatabaseUrl {
    type Err = String;

    /// What is refused is not repeated: it may hold a password.
    fn from_str(url: &str) -> Result<Self, String> {
        let expected = || EXPECTED.to_owned();
        let (scheme, rest) = url.split_once(':').ok_or_else(expected)?;
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let is_plain = !path.is_empty() && !path.starts_with(':') && !path.contains('?');
                is_plain.then(|| Self(Place::File(PathBuf::from(path)))).ok_or_else(expected)
            }
            "postgres" | "postgresql" => {
                let query = url.split_once('?').map_or("", |(_, query)| query);
                let keys = query.split('&').filter(|pair| !pair.is_empty());
                if !keys.map(|pair| pair.split('=').next().unwrap_or_default()).all(|key| PARAMETERS.contains(&key)) {
                    return Err(format!("expected no parameters but {}", PARAMETERS.join(", ")));
                }
                let options: PgConnectOptions = url.parse().map_err(|_| expected())?;
                Ok(Self(Place::Server(Box::new(options))))
            }
            _ => Err(expected()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name())
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

const EXPECTED: &str = "expected sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// What may stand behind the `?` of a server's URL.
const PARAMETERS: [&str; 6] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "application_name"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_file_or_a_server_or_are_refused_without_their_secret() {
        let name = |url: &str| url.parse::<DatabaseUrl>().map(|url| format!("{url:?}"));
        assert_eq!(name("sqlite:a/b.db"), Ok("a/b.db".to_owned()));
        assert_eq!(name("sqlite:///var/b.db"), Ok("/var/b.db".to_owned()));
        assert_eq!(name("postgres://u:hunter2@h/d"), Ok("postgres://h:5432/d".to_owned()));
        assert_eq!(name("postgresql://u:hunter2@h:6000/d?sslmode=require"), Ok("postgres://h:6000/d".to_owned()));
        for url in [
            "mysql://u:hunter2@h/d",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a?mode=ro",
            "offhook.db",
            "postgres://u:hunter2@h:no/d",
            "postgres://u:hunter2@h/d?sslmode=hunter2",
            "postgres://u@h/d?password=hunter2",
            "postgres://u@h/d?hunter2",
        ] {
            let error = name(url).unwrap_err();
            assert!(error.contains("expected") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_server_on_another_host_may_be_spoken_to_in_the_clear_unless_told_otherwise() {
        let clear = |url: &str| url.parse::<DatabaseUrl>().unwrap().is_clear_on_a_network();
        for url in ["postgres://h/d", "postgres://h/d?sslmode=prefer", "postgres://10.0.0.1/d?sslmode=disable"] {
            assert!(clear(url), "{url}");
        }
        for url in [
            "sqlite:a",
            "postgres://127.0.0.1/d",
            "postgres://[::1]/d",
            "postgres://localhost/d?sslmode=disable",
            "postgres://h/d?sslmode=verify-full",
            "postgres:///d?host=/run/postgresql",
        ] {
            assert!(!clear(url), "{url}");
        }
    }
}
