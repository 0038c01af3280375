//! The listener over real sockets: slow heads, too many connections, WebSockets, draining.

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::connect_async;

use super::*;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Served>,
    /// Told when a request to `/slow` has arrived.
    arrived: Arc<Notify>,
    /// Lets `/slow` answer.
    answer: Arc<Notify>,
}

async fn start(max_connections: usize) -> Running {
    let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (arrived, answer) = (arrived.clone(), answer.clone());
        move || async move {
            arrived.notify_one();
            answer.notified().await;
            "done"
        }
    };
    let echo = |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message @ Message::Text(_))) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    };
    let router = Router::new().route("/slow", routing::get(slow)).route("/ws", routing::get(echo));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits =
        ServeLimits { header_timeout: Duration::from_secs(10), max_connections, stop_within: Duration::from_secs(5) };
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(async move { serve(listener, router, limits, async { drop(stopped.await) }).await });
    Running { address, stop, served, arrived, answer }
}

async fn read_all(mut socket: TcpStream) -> String {
    let mut text = String::new();
    let _ = socket.read_to_string(&mut text).await;
    text
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let running = start(8).await;
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    socket.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nX-").await.unwrap();
    // The clock runs only while nothing else can: this returns when the server closes.
    let answer = tokio::time::timeout(Duration::from_secs(11), read_all(socket)).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    let _ = running.stop.send(());
    assert_eq!(running.served.await.unwrap().cut_off, 0);
}

#[tokio::test]
async fn a_websocket_works_and_holds_its_place() {
    let running = start(1).await;
    let (mut socket, _) = connect_async(format!("ws://{}/ws", running.address)).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "hello");

    let refusal = read_all(TcpStream::connect(running.address).await.unwrap()).await;
    assert!(refusal.starts_with("HTTP/1.1 503"), "{refusal}");
    let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())));

    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    // The place is free once the server has seen the close.
    loop {
        if connect_async(format!("ws://{}/ws", running.address)).await.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = running.stop.send(());
    assert!(running.served.await.unwrap().refused >= 1);
}

#[tokio::test]
async fn stopping_lets_a_request_in_progress_end() {
    let running = start(8).await;
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    socket.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    running.arrived.notified().await;
    let _ = running.stop.send(());
    running.answer.notify_one();
    let answer = read_all(socket).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert_eq!(running.served.await.unwrap(), Served { accepted: 1, refused: 0, cut_off: 0 });
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn stopping_has_a_deadline() {
    let running = start(8).await;
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    socket.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    running.arrived.notified().await;
    tokio::time::pause();
    let _ = running.stop.send(());
    assert_eq!(running.served.await.unwrap().cut_off, 1);
}
