//! Whether Redis answers: one PING (redis.io/docs/latest/develop/reference/protocol-spec). Health shows it.
//!
//! Nothing is kept in Redis by this server; a client for that is deliberately absent.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::CheckResult;
use crate::config::RedisConfig;

/// Asks the configured Redis whether it is there. Takes at most [`LONGEST`].
pub async fn check(config: RedisConfig) -> CheckResult {
    let Some(url) = config.url else { return CheckResult::NotConfigured };
    match timeout(LONGEST, ping(&url)).await {
        Ok(Ok(())) => CheckResult::Ok,
        Ok(Err(what)) => CheckResult::Error(what),
        Err(_) => CheckResult::Error(format!("no answer within {} ms", LONGEST.as_millis())),
    }
}

/// Where a Redis is and how to log in.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    host: &'a str,
    port: u16,
    user: &'a str,
    password: &'a str,
}

impl<'a> Address<'a> {
    /// `redis://[[user]:password@]host[:port][/db]`. A `%` in user or password stands for itself.
    fn parse(url: &'a str) -> Result<Self, &'static str> {
        let rest = url.strip_prefix("redis://").ok_or("expected redis://host:port")?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| "expected a port")?),
            _ => (place, DEFAULT_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("expected a host");
        }
        Ok(Self { host, port, user, password })
    }
}

const LONGEST: Duration = Duration::from_millis(1_500);
const DEFAULT_PORT: u16 = 6379;
/// Longest line read, in bytes.
const MAX_LINE: u64 = 512;

async fn ping(url: &SecretString) -> Result<(), String> {
    let address = Address::parse(url.expose_secret())?;
    let stream = TcpStream::connect((address.host, address.port)).await.map_err(|e| format!("no connection ({e})"))?;
    let mut stream = BufReader::new(stream);
    if !address.password.is_empty() {
        let login: &[&str] = match address.user {
            "" => &["AUTH", address.password],
            user => &["AUTH", user, address.password],
        };
        if ask(&mut stream, login).await? != "+OK" {
            return Err("credentials refused".to_owned());
        }
    }
    match ask(&mut stream, &["PING"]).await?.as_str() {
        "+PONG" => Ok(()),
        line if line.starts_with("-NOAUTH") => Err("asks for credentials".to_owned()),
        line if line.starts_with("-LOADING") => Err("still loading its data".to_owned()),
        _ => Err("answered something else than PONG".to_owned()),
    }
}

async fn ask(stream: &mut BufReader<TcpStream>, command: &[&str]) -> Result<String, String> {
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("connection lost ({e})"))?;
    let mut line = String::new();
    let read = stream.take(MAX_LINE).read_line(&mut line).await.map_err(|e| format!("connection lost ({e})"))?;
    if read == 0 {
        return Err("connection closed".to_owned());
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn urls_name_host_port_and_login() {
        let address = |host, port, user, password| Ok(Address { host, port, user, password });
        assert_eq!(Address::parse("redis://cache"), address("cache", 6379, "", ""));
        assert_eq!(Address::parse("redis://:p@ss@cache:7/1"), address("cache", 7, "", "p@ss"));
        assert_eq!(Address::parse("redis://u:p@[::1]:7"), address("::1", 7, "u", "p"));
        assert_eq!(Address::parse("redis://[::1]"), address("::1", 6379, "", ""));
        for wrong in ["cache:6379", "rediss://cache", "redis://", "redis://a:b"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Answers every command with the next of these lines.
    async fn answering(lines: &'static [&'static str]) -> (SecretString, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut heard, mut buffer) = (String::new(), [0; 256]);
            for line in lines {
                let n = stream.read(&mut buffer).await.unwrap();
                heard.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
                stream.write_all(line.as_bytes()).await.unwrap();
            }
            heard
        });
        (format!("redis://:s3cret@127.0.0.1:{port}").into(), heard)
    }

    #[tokio::test]
    async fn a_redis_that_answers_is_ok() {
        let (url, heard) = answering(&["+OK\r\n", "+PONG\r\n"]).await;
        assert_eq!(check(RedisConfig { url: Some(url) }).await, CheckResult::Ok);
        assert_eq!(heard.await.unwrap(), "*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n*1\r\n$4\r\nPING\r\n");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_secrets() {
        for (lines, expected) in [
            (&["-WRONGPASS s3cret\r\n"][..], "credentials refused"),
            (&["+OK\r\n", "-LOADING\r\n"], "still loading its data"),
            (&["+OK\r\n", "HTTP/1.1 400\r\n"], "answered something else than PONG"),
            (&["+OK\r\n", ""], "connection closed"),
        ] {
            let (url, _heard) = answering(lines).await;
            assert_eq!(check(RedisConfig { url: Some(url) }).await, CheckResult::Error(expected.to_owned()));
        }
        assert_eq!(check(RedisConfig::default()).await, CheckResult::NotConfigured);
        let refused = check(RedisConfig { url: Some("redis://127.0.0.1:1".into()) }).await;
        assert!(matches!(refused, CheckResult::Error(what) if what.starts_with("no connection")));
    }
}
