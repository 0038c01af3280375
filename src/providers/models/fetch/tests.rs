//! Against a server that breaks off, knows ranges or does not, lies about what it has, or gives the wrong file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response as Answer};
use axum::routing::get;
use futures_util::stream;

use super::*;

#[derive(Clone)]
struct Server {
    content: Arc<Vec<u8>>,
    ranges: bool,
    /// The first answers break off after so many bytes.
    breaks: Vec<usize>,
    status: u16,
    asked: Arc<AtomicU32>,
}

impl Server {
    fn new() -> Self {
        let content = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        Self { content: Arc::new(content), ranges: true, breaks: Vec::new(), status: 200, asked: Arc::default() }
    }

    /// Serves until the runtime of the test ends; gives the file that it has.
    async fn start(self, dir: &Path) -> (ModelsConfig, Model) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
        std::fs::write(dir.join("right"), &*self.content).unwrap();
        let model = Model {
            name: "test".to_owned(),
            file: "file.bin".to_owned(),
            url,
            bytes: self.content.len() as u64,
            sha256: super::super::sha256_of(&dir.join("right")).unwrap(),
            licence: String::new(),
        };
        let app = Router::new().route("/file.bin", get(answer)).with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await });
        (ModelsConfig { dir: dir.join("models"), also: vec![model.clone()] }, model)
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap) -> Answer<Body> {
    let number = server.asked.fetch_add(1, Ordering::Relaxed) as usize;
    let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-'));
    let from = range.filter(|_| server.ranges).map_or(0, |from| from.parse::<usize>().unwrap());
    let rest = server.content[from..].to_vec();
    let mut answer = Answer::builder().status(if from > 0 { 206 } else { server.status });
    if from > 0 {
        let (last, all) = (server.content.len() - 1, server.content.len());
        answer = answer.header("content-range", format!("bytes {from}-{last}/{all}"));
    }
    let Some(breaks) = server.breaks.get(number) else { return answer.body(Body::from(rest)).unwrap() };
    let sent = Bytes::from(rest[..*breaks].to_vec());
    let broken = stream::iter([Ok(sent), Err(std::io::Error::other("pulled the plug"))]);
    answer.body(Body::from_stream(broken)).unwrap()
}

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("offhook-fetch-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[tokio::test]
async fn a_file_comes_once_and_is_told_as_it_comes() {
    let dir = dir("once");
    let server = Server::new();
    let asked = Arc::clone(&server.asked);
    let (config, model) = server.start(&dir).await;
    let mut told = 0;
    let path = config.path(&model);
    let fetched = fetch(&config, &model, |there| told = there).await;
    assert_eq!(fetched, Ok(Fetched::Now { path: path.clone(), resumed: 0 }));
    assert_eq!(told, model.bytes);
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(dir.join("right")).unwrap());
    assert_eq!(fetch(&config, &model, |_| ()).await, Ok(Fetched::Already(path.clone())));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    std::fs::write(&path, vec![0; model.bytes as usize]).unwrap();
    let wrong = fetch(&config, &model, |_| ()).await.unwrap_err();
    assert!(wrong.contains("SHA-256") && wrong.contains("remove it"), "{wrong}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn what_broke_off_goes_on_where_it_was() {
    let dir = dir("broke");
    let server = Server { breaks: vec![30_000, 20_000], ..Server::new() };
    let asked = Arc::clone(&server.asked);
    let (config, model) = server.start(&dir).await;
    assert_eq!(fetch(&config, &model, |_| ()).await, Ok(Fetched::Now { path: config.path(&model), resumed: 0 }));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_used_where_the_server_knows_ranges() {
    for ranges in [true, false] {
        let dir = dir(&format!("ranges-{ranges}"));
        let (config, model) = Server { ranges, ..Server::new() }.start(&dir).await;
        std::fs::create_dir_all(&config.dir).unwrap();
        let right = std::fs::read(dir.join("right")).unwrap();
        std::fs::write(part_of(&config.path(&model)), &right[..40_000]).unwrap();
        assert_eq!(config.presence(&model), super::super::Presence::Partly(40_000));
        let mut told = Vec::new();
        let fetched = fetch(&config, &model, |there| told.push(there)).await;
        assert_eq!(fetched, Ok(Fetched::Now { path: config.path(&model), resumed: 40_000 }));
        assert_eq!(told[0] > 40_000, ranges, "begun again: {told:?}");
        assert_eq!(config.presence(&model), super::super::Presence::There);
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[tokio::test]
async fn what_is_not_the_file_is_thrown_away() {
    let dir = dir("wrong");
    let (config, mut model) = Server::new().start(&dir).await;
    model.sha256 = "0".repeat(64);
    let error = fetch(&config, &model, |_| ()).await.unwrap_err();
    assert!(error.contains("SHA-256") && error.contains(&model.sha256), "{error}");
    model.bytes -= 1;
    let error = fetch(&config, &model, |_| ()).await.unwrap_err();
    assert!(error.contains("more than 99999 bytes"), "{error}");
    assert_eq!(config.presence(&model), super::super::Presence::Absent);
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_server_that_has_no_such_file_is_named_and_not_asked_again() {
    let dir = dir("gone");
    let server = Server { status: 404, ..Server::new() };
    let asked = Arc::clone(&server.asked);
    let (config, model) = server.start(&dir).await;
    let error = fetch(&config, &model, |_| ()).await.unwrap_err();
    assert!(error.contains(&model.url) && error.contains("404"), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn two_do_not_fetch_the_same_file() {
    let dir = dir("two");
    let (config, model) = Server::new().start(&dir).await;
    std::fs::create_dir_all(&config.dir).unwrap();
    let _first = opened(&part_of(&config.path(&model))).unwrap_or_else(|error| panic!("{error}"));
    let error = fetch(&config, &model, |_| ()).await.unwrap_err();
    assert!(error.contains("another process"), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}
