//! A GET with a deadline over everything: name, connection, request, head of the answer.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::model::service::HttpProbe;

/// Asks and judges the status; the body is not read.
pub async fn get(probe: &HttpProbe, to: SocketAddr, limit: Duration) -> Result<(), String> {
    let what = format!("GET :{}{}", probe.port, probe.path);
    let status = match timeout(limit, ask(probe, to)).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(format!("{what}: {error}")),
        Err(_) => return Err(format!("{what}: no answer within {limit:?}")),
    };
    if accepts(&probe.status, status) { Ok(()) } else { Err(format!("{what}: {status}, wanted {}", probe.status)) }
}

async fn ask(probe: &HttpProbe, to: SocketAddr) -> Result<u16, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(to).await.map_err(|e| text(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    let mut request = http::Request::get(&probe.path)
        .header("host", probe.host.clone().unwrap_or_else(|| to.to_string()))
        .header("user-agent", concat!("constellation/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close");
    for (name, value) in &probe.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::new()).map_err(|e| text(&e))?;
    // The connection is driven here, beside the request, and ends with it: nothing is left behind.
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    };
    answer.map(|a| a.status().as_u16()).map_err(|e| text(&e))
}

/// Whether a status is in `200-399` or `200,204`.
fn accepts(ranges: &str, status: u16) -> bool {
    ranges.split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
            (Ok(from), Ok(to)) => (from..=to).contains(&status),
            _ => false,
        }
    })
}

#[cfg(test)]
mod mutated {
    use super::*;
    use crate::mutate::{Answering, Mutations, answer, plain};

    #[tokio::test]
    async fn probes_survive_what_a_program_answers() {
        let corpus = [
            answer(200, "text/plain", "ok"),
            answer(503, "text/plain", "not yet"),
            b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec(),
            b"HTTP/1.0 302 Found\r\nlocation: /x\r\n\r\n".to_vec(),
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200)).into_bytes(),
        ];
        let server = Answering::new(|_| None).await;
        let probe: HttpProbe = serde_json::from_value(serde_json::json!({"path": "/", "port": 80})).unwrap();
        let limit = Duration::from_secs(5);
        let mut good = 0;
        for case in Mutations::of("answers to probes", corpus, 250) {
            server.say(case);
            // The deadline is its own: a second one around it would mean that it does not hold.
            let asked = timeout(limit * 4, get(&probe, server.address, limit)).await.expect("it ends");
            match asked {
                Ok(()) => good += 1,
                Err(error) => plain(&error),
            }
        }
        assert!(good > 0, "some of them are whole");
    }

    #[test]
    fn statuses_survive_what_is_written() {
        crate::mutate::survives_text(Mutations::of("statuses", ["200-399", "200, 204", "100-599"], 1_000), |ranges| {
            let taken = (0..=u16::MAX).step_by(997).filter(|status| accepts(ranges, *status)).count();
            assert!(taken == 0 || ranges.contains(|c: char| c.is_ascii_digit()), "{ranges:?}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_ranges_and_lists() {
        for (ranges, status, good) in
            [("200-399", 302, true), ("200-399", 400, false), ("200, 204", 204, true), ("200", 201, false)]
        {
            assert_eq!(accepts(ranges, status), good, "{ranges} {status}");
        }
    }
}
