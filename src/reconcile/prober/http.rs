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
