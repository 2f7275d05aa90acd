//! A server that answers what it is told to: an engine, a probed program or an API that nobody should be.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A server on loopback that says to every request what it was told to, byte for byte, and hangs up.
pub struct Answering {
    /// Where it listens.
    pub address: std::net::SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Answering {
    /// `known`: what is answered as it should be, by the head of the request.
    pub async fn new(known: fn(&str) -> Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, said) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let saying = said.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let saying = saying.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
                    let good = known(&String::from_utf8_lossy(&head));
                    let answer = good.map_or_else(|| saying.lock().unwrap().clone(), |good| good.into());
                    stream.write_all(&answer).await?;
                    stream.shutdown().await?;
                    // Closed with something unread, it would take its answer back.
                    while stream.read(&mut [0; 1_024]).await? > 0 {}
                    std::io::Result::Ok(())
                });
            }
        });
        Self { address, said }
    }
    /// What is said from now on.
    pub fn say(&self, answer: Vec<u8>) {
        *self.said.lock().unwrap() = answer;
    }
}

/// An answer as a server writes it, of which the connection is closed behind it.
pub fn answer(status: u16, media: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut answer = format!(
        "HTTP/1.1 {status} Text\r\ncontent-type: {media}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// The same without a length: it ends with the connection.
pub fn endless(media: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\nconnection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(body.as_ref());
    answer
}
