//! A raw HTTP/1.1 client: what it sends is what the test says.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::rig::{Rig, TOKEN, soon};

pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// An answer.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}
impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    /// Status and last segment of a problem's type. Its media type and status are as they must be.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status, "{self:?}");
        assert!(json["title"].as_str().is_some_and(|t| !t.is_empty()), "{self:?}");
        let slug = json["type"].as_str().unwrap().strip_prefix("https://constellation.dev/problems/");
        (self.status, slug.unwrap().to_owned())
    }
}

/// One connection.
pub struct Wire {
    io: BufReader<Box<dyn Io>>,
    /// Of a chunked body: what came and was not taken.
    rest: Vec<u8>,
}

impl Wire {
    pub fn new(io: impl Io + 'static) -> Self {
        Self { io: BufReader::new(Box::new(io)), rest: Vec::new() }
    }
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon("writing", self.io.write_all(bytes.as_ref())).await.unwrap();
    }
    /// As [`Self::write`], when the server may have gone away: whether it was taken.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon("writing", self.io.write_all(bytes.as_ref())).await.is_ok()
    }
    /// Says that nothing more will be sent.
    pub async fn half_close(&mut self) {
        soon("closing one half", self.io.shutdown()).await.unwrap();
    }
    /// Status and headers of the next answer; none at the end of the connection.
    pub async fn head(&mut self) -> Option<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match soon("the head of an answer", self.io.read_line(&mut line)).await {
                Ok(0) | Err(_) if lines.is_empty() => return None,
                Ok(0) | Err(_) => panic!("the head broke off after {lines:?}"),
                Ok(_) if line == "\r\n" => break,
                Ok(_) => lines.push(line.trim_end().to_owned()),
            }
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let header = |l: &String| l.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).unwrap();
        Some(Answer { status, headers: lines[1..].iter().map(header).collect(), body: Vec::new() })
    }
    /// The next answer, whole.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await.expect("an answer, not the end");
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
        } else {
            let length = answer.header("content-length").map_or(0, |l| l.parse().unwrap());
            answer.body = vec![0; length];
            soon("a body", self.io.read_exact(&mut answer.body)).await.unwrap();
        }
        answer
    }
    /// The next chunk of a chunked body; none after the last, and when it broke off.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        if soon("a chunk", self.io.read_line(&mut size)).await.ok()? == 0 {
            return None;
        }
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        soon("a chunk", self.io.read_exact(&mut chunk)).await.ok()?;
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }
    /// The next line of a stream, empty ones too; none at its end.
    pub async fn raw_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            let chunk = self.chunk().await?;
            self.rest.extend(chunk);
        }
    }
    /// The next JSON of a stream.
    pub async fn line(&mut self) -> Option<Value> {
        loop {
            match self.raw_line().await?.as_str() {
                "" => {}
                line => return Some(serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))),
            }
        }
    }
    /// The next so many.
    pub async fn lines(&mut self, count: usize) -> Vec<Value> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(self.line().await.unwrap_or_else(|| panic!("the stream ended after {lines:?}")));
        }
        lines
    }
    /// Everything up to the end of the connection.
    pub async fn read_to_close(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset is an end too.
        let _ = soon("the end of the connection", self.io.read_to_end(&mut all)).await;
        all
    }
}

/// A request that is being written.
pub struct Ask<'r> {
    rig: &'r Rig,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    token: Option<String>,
    socket: bool,
}

impl<'r> Ask<'r> {
    pub fn new(rig: &'r Rig, method: &str, path: &str) -> Self {
        let token = Some(TOKEN.into());
        Self { rig, method: method.into(), path: path.into(), headers: vec![], body: None, token, socket: false }
    }
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }
    pub fn media(self, media: &str) -> Self {
        self.header("content-type", media)
    }
    pub fn token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }
    /// Over the socket, without a token.
    pub fn socket(mut self) -> Self {
        self.socket = true;
        self.token = None;
        self
    }
    /// As bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: test\r\n", self.method, self.path);
        let token = self.token.iter().map(|t| ("authorization".to_owned(), format!("Bearer {t}")));
        let length = self.body.iter().map(|b| ("content-length".to_owned(), b.len().to_string()));
        for (name, value) in self.headers.iter().cloned().chain(token).chain(length) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }
    /// The whole answer.
    pub async fn send(self) -> Answer {
        let mut wire = self.header("connection", "close").sent().await;
        wire.answer().await
    }
    /// The answer's head, and the connection to read on.
    pub async fn open(self) -> (Answer, Wire) {
        let mut wire = self.sent().await;
        let head = wire.head().await.expect("an answer, not the end");
        (head, wire)
    }
    /// As [`Self::open`], for what must be good.
    pub async fn stream(self) -> Wire {
        let (head, wire) = self.open().await;
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("application/x-ndjson"), "{head:?}");
        wire
    }
    async fn sent(self) -> Wire {
        let mut wire = if self.socket { self.rig.unix().await } else { self.rig.tcp().await };
        wire.write(self.bytes()).await;
        wire
    }
}
