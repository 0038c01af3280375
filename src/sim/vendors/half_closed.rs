//! A vendor whose side of the connection closes in the middle of an answer while it goes on reading, below what an HTTP
//! library can be made to do: bytes on a socket.

use std::net::SocketAddr;

use offhook_media::resample::Rate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::speech::Speech;

/// How the end of an answer is told on the wire (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By a last chunk of length 0, which never comes.
    Chunked,
    /// By its length, of which a part comes.
    Length,
    /// By the end of the connection: what comes looks whole.
    Close,
}

/// Answers every request with the beginning of an utterance, until this is dropped.
pub struct HalfClosed {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl HalfClosed {
    /// Serves on a free loopback port: of `text`, said in 16-bit PCM at `rate`, so many bytes come.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(text: &str, rate: Rate, bytes: usize, framing: Framing) -> std::io::Result<Self> {
        let whole: Vec<u8> = Speech::whole(text, rate.hz()).into_iter().flat_map(i16::to_le_bytes).collect();
        Self::with(&whole, "audio/l16", bytes, framing).await
    }

    /// The same with any body of this media type.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn with(whole: &[u8], kind: &str, bytes: usize, framing: Framing) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let answer = answer(whole, kind, bytes, framing);
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, answer.clone()));
            }
        });
        Ok(Self { address, server })
    }

    /// For the `base_url` of a vendor.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for HalfClosed {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(whole: &[u8], kind: &str, bytes: usize, framing: Framing) -> Vec<u8> {
    let part = whole.get(..bytes).unwrap_or(whole);
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n").into_bytes();
    match framing {
        Framing::Chunked => {
            answer.extend(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in part.chunks(4800) {
                answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
                answer.extend_from_slice(chunk);
                answer.extend(b"\r\n");
            }
        }
        Framing::Length => {
            answer.extend(format!("content-length: {}\r\n\r\n", whole.len()).bytes());
            answer.extend_from_slice(part);
        }
        Framing::Close => {
            answer.extend(b"connection: close\r\n\r\n");
            answer.extend_from_slice(part);
        }
    }
    answer
}

/// Answers once the head of a request is in, shuts its own direction, and reads until the other side goes.
async fn serve(mut socket: TcpStream, answer: Vec<u8>) -> Option<()> {
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let got = socket.read(&mut part).await.ok().filter(|got| *got > 0)?;
        request.extend_from_slice(part.get(..got)?);
    }
    socket.write_all(&answer).await.ok()?;
    socket.shutdown().await.ok()?;
    while socket.read(&mut part).await.ok()? > 0 {}
    Some(())
}
