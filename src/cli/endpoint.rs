//! Where an API is, and with which token one speaks to it.
//!
//! Here: [`Endpoint`] from `--api` or `CONSTELLATION_API`, [`token`] from the environment. Not here:
//! connections (`transport`).
//! Invariant: a token never comes from an argument, where every user of the machine could read it.

use std::{fmt, path::PathBuf, str::FromStr};

use zeroize::Zeroizing;

use super::failure::CliError;

/// The socket that an agent makes.
pub const DEFAULT_SOCKET: &str = "/run/constellation/api.sock";

/// An address of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine; root and the agent's user need no token.
    Unix(PathBuf),
    /// Plain HTTP, on loopback.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Unix(DEFAULT_SOCKET.into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = CliError;
    fn from_str(text: &str) -> Result<Self, CliError> {
        let wrong = |why: &str| {
            CliError::usage(
                format!("{text:?} is no address of an API: {why}"),
                "write unix:///run/constellation/api.sock or http://127.0.0.1:7443",
            )
        };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(wrong("the path of a socket is absolute, with three slashes"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with("https://") {
            return Err(wrong("https is not built yet"));
        }
        let Some(authority) = text.strip_prefix("http://") else {
            if text.starts_with('/') {
                let message = format!("{text:?} is no address of an API: it is a path without a scheme");
                return Err(CliError::usage(message, format!("write unix://{text} for a socket")));
            }
            return Err(wrong("it has no scheme"));
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let uri: http::uri::Authority = authority.parse().map_err(|_| wrong("it is not HOST:PORT"))?;
        if authority.contains(['/', '?', '@']) {
            return Err(wrong("it has more than a host and a port"));
        }
        let host = uri.host();
        let port = match authority.strip_prefix(host) {
            Some("") => 7443,
            // Digits alone: what is no port shall not be taken for none.
            Some(rest) => rest
                .strip_prefix(':')
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| wrong("its port is none from 0 to 65535"))?,
            None => return Err(wrong("it is not HOST:PORT")),
        };
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['[', ']']) {
            return Err(wrong("it has no host"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

/// The token of `CONSTELLATION_TOKEN`, else of the file that `CONSTELLATION_TOKEN_FILE` names; none is no error.
///
/// # Errors
/// When the file cannot be read, or the token could not stand in a header.
pub fn token(env: impl Fn(&str) -> Option<String>) -> Result<Option<Zeroizing<String>>, CliError> {
    let given = |name: &str| env(name).filter(|value| !value.is_empty());
    let (text, from) = if let Some(token) = given("CONSTELLATION_TOKEN") {
        (Zeroizing::new(token), "CONSTELLATION_TOKEN".to_owned())
    } else if let Some(path) = given("CONSTELLATION_TOKEN_FILE") {
        let text = std::fs::read_to_string(&path).map_err(|source| CliError::File {
            doing: "read",
            path: path.clone().into(),
            source,
        })?;
        (Zeroizing::new(text), path)
    } else {
        return Ok(None);
    };
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(CliError::usage(
            format!("what {from} holds is no token"),
            "use the agent's admin.token file as it is",
        ));
    }
    Ok(Some(Zeroizing::new(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_with_the_reason() {
        let tcp = |host: &str, port| Endpoint::Tcp { host: host.into(), port };
        for (text, endpoint, shown) in [
            ("unix:///run/x.sock", Endpoint::Unix("/run/x.sock".into()), "unix:///run/x.sock"),
            ("http://127.0.0.1:7443", tcp("127.0.0.1", 7443), "http://127.0.0.1:7443"),
            ("http://127.0.0.1:80/", tcp("127.0.0.1", 80), "http://127.0.0.1:80"),
            ("http://n1", tcp("n1", 7443), "http://n1:7443"),
            ("http://[::1]:9", tcp("::1", 9), "http://[::1]:9"),
        ] {
            let read: Endpoint = text.parse().unwrap();
            assert_eq!((read.to_string().as_str(), &read), (shown, &endpoint), "{text}");
        }
        for (text, why) in [
            ("https://n1:7443", "not built yet"),
            ("n1:7443", "no scheme"),
            ("/run/x.sock", "without a scheme"),
            ("unix://run/x.sock", "absolute"),
            ("http://", "HOST:PORT"),
            ("http://n1:1/x", "HOST:PORT"),
            ("http://u@n1:1", "more than"),
            ("http://n1:99999", "its port"),
            ("http://n1:+80", "its port"),
            ("http://n1:", "its port"),
            ("http://0[::1]:80", "its port"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert_eq!(error.exit().code(), 2);
        }
        let hint = "/run/x.sock".parse::<Endpoint>().unwrap_err().hint();
        assert_eq!(hint.as_deref(), Some("write unix:///run/x.sock for a socket"));
    }

    #[test]
    fn the_token_comes_from_the_environment_or_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("admin.token");
        std::fs::write(&file, "from-file\n").unwrap();
        let path = file.to_str().unwrap().to_owned();
        let env = |pairs: Vec<(&'static str, String)>| {
            move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
        };
        let read = |pairs| token(env(pairs)).unwrap().map(|t| t.to_string());
        assert_eq!(read(vec![]), None);
        assert_eq!(read(vec![("CONSTELLATION_TOKEN_FILE", path.clone())]).as_deref(), Some("from-file"));
        let both = vec![("CONSTELLATION_TOKEN", "direct".into()), ("CONSTELLATION_TOKEN_FILE", path)];
        assert_eq!(read(both).as_deref(), Some("direct"));
        assert!(token(env(vec![("CONSTELLATION_TOKEN", "two words".into())])).is_err());
        assert!(token(env(vec![("CONSTELLATION_TOKEN_FILE", "/nowhere".into())])).is_err());
    }
}
