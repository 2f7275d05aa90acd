//! What the cluster's own Traefik is started with: its static configuration.
//!
//! Here: [`Addresses`], [`Addresses::file`], [`token_name`]. Not here: where the file is kept (a Secret, made by `api::made`).
//! All of it is on loopback: the agent opens the public ports and splices with the PROXY protocol, so that only from
//! here a client's address is believed. Traefik asks again a millisecond after it was answered: the server holds the
//! answer, so that it learns of a change at once and asks nothing while nothing changes.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

/// Where the agent and its Traefik find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Our API, over plain HTTP.
    pub api: SocketAddr,
    /// Traefik's entry point `web`.
    pub http: SocketAddr,
    /// Traefik's entry point `websecure`.
    pub https: SocketAddr,
    /// Traefik's own API, and its ping.
    pub traefik: SocketAddr,
}

impl Addresses {
    /// The whole file. JSON is YAML too.
    #[must_use]
    pub fn file(&self, token: &str) -> String {
        // What a client writes with `_` is another header to Traefik and the same one to many servers: it could say
        // what only a middleware may.
        let aliases = json!({"aliasHeadersStrategy": "delete"});
        let entry = |at: SocketAddr| json!({"address": at.to_string(), "proxyProtocol": {"trustedIPs": [itself(at)]}, "http": aliases});
        let document = json!({
            "global": {"checkNewVersion": false, "sendAnonymousUsage": false},
            "log": {"level": "WARN", "noColor": true},
            "entryPoints": {
                "web": entry(self.http),
                "websecure": entry(self.https),
                // The name of the one that has the API and the ping.
                "traefik": {"address": self.traefik.to_string(), "http": aliases},
            },
            "api": {"insecure": true, "dashboard": false},
            "ping": {},
            "providers": {
                "providersThrottleDuration": "0s",
                "http": {
                    "endpoint": format!("http://{}/traefik/config", self.api),
                    "headers": {"Authorization": format!("Bearer {token}")},
                    "pollInterval": "1ms",
                    "pollTimeout": "60s",
                },
            },
        });
        format!("{document:#}\n")
    }
}

/// The one address that an address of this machine is called from.
fn itself(at: SocketAddr) -> &'static str {
    match at.ip() {
        IpAddr::V4(_) => "127.0.0.1/32",
        IpAddr::V6(_) => "::1/128",
    }
}

/// Name of the token in the file of a Secret: no name that a person can give to one.
#[must_use]
pub fn token_name(secret: &str) -> String {
    format!("edge.{secret}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_all_on_loopback_and_has_the_token() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses { api: at(7443), http: at(18080), https: at(18443), traefik: at(18081) };
        insta::assert_snapshot!(addresses.file("cst_00_11"));
        let six = Addresses { http: "[::1]:18080".parse().unwrap(), ..addresses };
        assert!(six.file("x").contains("\"::1/128\"") && six.file("x").contains("\"[::1]:18080\""));
    }
}
