//! A relay that strikes lines out of session descriptions: an SBC of the meaner kind, between two peers over UDP. What
//! begins a call goes through it; what follows goes to the Contact, past it.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A running relay; it ends when this is dropped.
pub struct Editor {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Editor {
    /// In front of `callee`; lines of offers for which `keep` is false are struck out.
    pub async fn start(callee: SocketAddr, keep: impl Fn(&str) -> bool + Send + 'static) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = front.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut caller, mut request, mut answer) = (None, vec![0; 65_535], vec![0; 65_535]);
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut request) => {
                        caller = Some(from);
                        let text = String::from_utf8_lossy(&request[..length]).into_owned();
                        let _ = back.send_to(edited(&text, &keep).as_bytes(), callee).await;
                    }
                    Ok((length, _)) = back.recv_from(&mut answer) => {
                        if let Some(caller) = caller {
                            let _ = front.send_to(&answer[..length], caller).await;
                        }
                    }
                }
            }
        });
        Self { address, task }
    }

    /// Where calls are to go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn edited(message: &str, keep: &impl Fn(&str) -> bool) -> String {
    let Some((head, body)) = message.split_once("\r\n\r\n") else { return message.to_owned() };
    let body: String = body.split_inclusive("\r\n").filter(|line| keep(line)).collect();
    let is_length = |line: &str| line.to_ascii_lowercase().starts_with("content-length:");
    let head: Vec<String> = head
        .split("\r\n")
        .map(|line| if is_length(line) { format!("Content-Length: {}", body.len()) } else { line.to_owned() })
        .collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}
