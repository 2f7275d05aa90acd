//! The way to the engine, found again after it was lost.
//!
//! Here: [`Connection`], which negotiates on the first call and after each loss.
//! Not here: deadlines (callers hold one around [`Connection::client`] as well).
//! Invariant: building one never fails for want of an engine; only a wrong address is refused.
//! Why negotiate at all: bollard's own API version is far ahead of a distribution's engine, and what
//! may be sent (`start_interval`, several networks at create) depends on the engine's.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bollard::{API_DEFAULT_VERSION, errors::Error};

use super::super::RuntimeError;

/// bollard's own limit ends at the headers of an answer. Ours are all shorter or, for builds and
/// stops, longer than its default: this one is never the first to end a call.
const CLIENT_LIMIT_SECONDS: u64 = 24 * 3600;

/// First API version that takes `start_interval` and all networks at create.
const API_1_44: (usize, usize) = (1, 44);

/// A negotiated client.
#[derive(Clone)]
pub(super) struct Client {
    /// What bollard calls.
    pub docker: bollard::Docker,
    /// API version in use.
    pub api: (usize, usize),
}

impl Client {
    /// Whether the engine takes health checks with `start_interval` and all networks at create.
    pub fn is_1_44(&self) -> bool {
        self.api >= API_1_44
    }
}

/// Where the engine is, and the client once negotiated.
pub(super) struct Connection {
    address: String,
    client: ArcSwapOption<Client>,
    /// Thirty calls at once after a loss negotiate once.
    negotiating: tokio::sync::Mutex<()>,
}

impl Connection {
    /// Takes `unix:///path`, `tcp://address:port` or `http://address:port`.
    ///
    /// # Errors
    /// [`RuntimeError::Refused`] when the address has another form.
    pub fn new(address: &str) -> Result<Self, RuntimeError> {
        let path = address.strip_prefix("unix://").is_some_and(|p| p.starts_with('/'));
        let host = ["tcp://", "http://"].iter().any(|s| address.strip_prefix(s).is_some_and(|rest| !rest.is_empty()));
        if !path && !host {
            let message = format!(
                "{address:?} is no address of an engine; write unix:///var/run/docker.sock or tcp://127.0.0.1:2375"
            );
            return Err(RuntimeError::Refused { message });
        }
        Ok(Self {
            address: address.to_owned(),
            client: ArcSwapOption::empty(),
            negotiating: tokio::sync::Mutex::new(()),
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The client, negotiated now if it was not before.
    pub async fn client(&self) -> Result<Arc<Client>, Error> {
        if let Some(client) = self.client.load_full() {
            return Ok(client);
        }
        let _one = self.negotiating.lock().await;
        if let Some(client) = self.client.load_full() {
            return Ok(client);
        }
        let docker = self.unconnected(API_DEFAULT_VERSION)?;
        let docker = docker.with_request_modifier(url_safe_auth).negotiate_version().await?;
        let version = docker.client_version();
        let client = Arc::new(Client { docker, api: (version.major_version, version.minor_version) });
        self.client.store(Some(client.clone()));
        Ok(client)
    }

    /// A client whose first call makes a connection: kept ones live on in an engine that takes no more.
    pub async fn anew(&self) -> Result<bollard::Docker, Error> {
        let known = self.client().await?.docker.client_version();
        let version = bollard::ClientVersion { major_version: known.major_version, minor_version: known.minor_version };
        self.unconnected(&version)
    }

    fn unconnected(&self, version: &bollard::ClientVersion) -> Result<bollard::Docker, Error> {
        match self.address.strip_prefix("unix://") {
            Some(path) => bollard::Docker::connect_with_unix(path, CLIENT_LIMIT_SECONDS, version),
            None => bollard::Docker::connect_with_http(&self.address, CLIENT_LIMIT_SECONDS, version),
        }
    }

    /// Forgets the client: the engine went away and may come back as another version.
    pub fn forget(&self) {
        self.client.store(None);
    }
}

/// Credentials travel in base64, and engines read the URL-safe alphabet only: with `+` or `/` in it they
/// take the header for none and pull without credentials. bollard writes the standard alphabet.
fn url_safe_auth(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        if let Some(value) = request.headers().get(name).and_then(|v| v.to_str().ok()) {
            let safe = value.replace('+', "-").replace('/', "_");
            if let Ok(safe) = http::HeaderValue::from_str(&safe) {
                request.headers_mut().insert(name, safe);
            }
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_written_in_the_alphabet_that_engines_read() {
        let request = http::Request::builder().header("x-registry-auth", "a+b/c=").header("accept", "*/*");
        let request = url_safe_auth(request.body(bollard::body_full(bytes::Bytes::new())).unwrap());
        assert_eq!(request.headers()["x-registry-auth"], "a-b_c=");
        assert_eq!(request.headers()["accept"], "*/*");
    }

    #[test]
    fn only_a_wrong_address_is_refused_not_a_missing_engine() {
        for address in ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "http://127.0.0.1:1"] {
            assert!(Connection::new(address).is_ok(), "{address}");
        }
        for address in ["", "unix://", "unix://relative", "ssh://host", "tcp://", "/var/run/docker.sock"] {
            assert!(matches!(Connection::new(address), Err(RuntimeError::Refused { .. })), "{address}");
        }
    }
}
