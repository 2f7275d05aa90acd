//! What a client is told that waited for a Traefik and none came.
//!
//! Here: [`say`]: 503 to who speaks HTTP/1 in clear. Not here: how long is waited ([`super`]).
//! Who speaks TLS, or HTTP/2, is sent away without a word: nobody here has the key, and a refusal in its own frames would
//! be more code than it is worth.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// For the beginning of the request, which waits in the kernel since the client came.
const HEAR: Duration = Duration::from_millis(200);
/// For what is still on its way from the client: a connection that ends with unread bytes takes the answer with it.
const LEAVE: Duration = Duration::from_secs(1);
/// Bytes that are looked at.
const LOOK: usize = 16;
/// Whole answer. Some seconds: who asks again at once comes to ports that are shut.
const ANSWER: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\n\
                      Content-Length: 27\r\nConnection: close\r\n\r\nno Traefik is there to ask\n";

/// Answers if that is understood, and ends the connection. `said`: what was read of the client; none: nothing was.
pub async fn say(mut client: TcpStream, said: &[u8]) {
    let mut seen = said.to_vec();
    if seen.is_empty() {
        seen.resize(LOOK, 0);
        let Ok(Ok(many)) = timeout(HEAR, client.peek(&mut seen)).await else { return };
        seen.truncate(many);
    }
    if !asks(&seen) {
        return;
    }
    let told = async {
        client.write_all(ANSWER.as_bytes()).await?;
        client.shutdown().await?;
        let mut rest = [0; 4096];
        while client.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Who does not take it does not get it.
    let _ = timeout(LEAVE, told).await;
}

/// Whether a request begins so: a method, and a path or an address after it.
fn asks(said: &[u8]) -> bool {
    let method = said.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let after = said.get(method..).unwrap_or_default();
    !said.starts_with(b"PRI ") && (3..=10).contains(&method) && (after.is_empty() || after.starts_with(b" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_in_clear_is_answered() {
        for (said, answered) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"POST /a HTTP/1.1", true),
            (b"OPTIONS * HTTP/1", true),
            (b"GET", true),
            (b"PRI * HTTP/2.0\r\n", false),
            (b"\x16\x03\x01\x02\x00\x01", false),
            (b"SSH-2.0-OpenSSH", false),
            (b"", false),
            (b"get / HTTP/1.1", false),
        ] {
            assert_eq!(asks(said), answered, "{}", String::from_utf8_lossy(said));
        }
    }

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
