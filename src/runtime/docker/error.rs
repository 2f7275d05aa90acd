//! What an engine's words mean.
//!
//! Here: [`explain`], from a status and a message to the one [`RuntimeError`] a caller acts on.
//! Not here: retries, hints (`plan`, `reconcile`).
//! Invariant: pure; what is not recognised keeps the engine's own message.
//! Why by text: the engine answers a taken port, a full disk and a bug alike with 500.

use bollard::errors::Error;

use super::super::RuntimeError;

/// Longest message that is passed on; an engine may quote whole command lines.
const MESSAGE_MAX: usize = 1_000;

/// What a call was about: says what a 404 misses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// The engine as a whole.
    Engine,
    /// A container, by id or name.
    Container(&'a str),
    /// Making or starting a container from this image.
    Making(&'a str),
    /// A registry's image.
    Image(&'a str),
    /// A network.
    Network(&'a str),
    /// A volume.
    Volume(&'a str),
    /// A build.
    Build,
}

/// Turns what bollard returned into what a caller acts on.
pub(super) fn translate(error: &Error, address: &str, subject: Subject<'_>) -> RuntimeError {
    let down = |message: String| RuntimeError::Down { address: address.to_owned(), message };
    match error {
        Error::DockerResponseServerError { status_code, message } => explain(*status_code, message, subject),
        // An error within a stream that began with 200.
        Error::DockerStreamError { error } => explain(500, error, subject),
        Error::SocketNotFoundError(path) => down(format!("{path} does not exist")),
        Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. } => down(chain(error)),
        other => RuntimeError::Failed { message: chain(other) },
    }
}

/// An error with its causes: hyper keeps the one that matters ("connection refused") at the end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Reads a status and a message.
pub(super) fn explain(status: u16, message: &str, subject: Subject<'_>) -> RuntimeError {
    let mut message: String = message.trim().chars().take(MESSAGE_MAX).collect();
    if message.is_empty() {
        message = format!("the engine answered {status} and gave no reason");
    }
    let has = |words: &[&str]| words.iter().any(|w| message.contains(w));
    if has(&["no space left on device"]) {
        return RuntimeError::DiskFull { message };
    }
    if let Subject::Image(image) = subject {
        return registry(status, message, image);
    }
    if has(&["port is already allocated", "address already in use", "ports are not available"])
        && let Some(port) = port(&message)
    {
        return RuntimeError::PortTaken { port, message };
    }
    if let Some((_, path)) = message.split_once("bind source path does not exist: ") {
        return RuntimeError::BindSourceMissing { path: path.trim().to_owned() };
    }
    if has(&["error gathering device information", "could not select device driver", "no such device"]) {
        return RuntimeError::DeviceMissing { message };
    }
    if let (Subject::Making(image), true) = (subject, has(&["No such image", "no such image"])) {
        return RuntimeError::ImageNotFound { image: image.to_owned(), message };
    }
    // Settings that this host cannot keep, said with 500; a network for which no addresses are left, with 404.
    if has(&["is not a shared mount", "is not a shared or slave mount", "non-overlapping IPv4 address pool"]) {
        return RuntimeError::Refused { message };
    }
    match status {
        404 => RuntimeError::NotFound { what: missing(&message, subject) },
        409 => RuntimeError::Conflict { message },
        400 | 403 | 405 | 406 | 422 | 501 => RuntimeError::Refused { message },
        _ if matches!(subject, Subject::Build) => RuntimeError::Refused { message },
        // The address of a network is taken: the engine says 500 or 403 and no port.
        _ if has(&["Address already in use"]) => RuntimeError::Conflict { message },
        _ => RuntimeError::Failed { message },
    }
}

fn registry(status: u16, message: String, image: &str) -> RuntimeError {
    let image = image.to_owned();
    let lower = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["invalid reference"]) {
        return RuntimeError::Refused { message };
    }
    // Before "not found": a refusal often adds that the repository may not exist.
    if has(&["unauthorized", "denied", "no basic auth credentials", "authentication required", "403 forbidden"]) {
        return RuntimeError::ImageRefused { image, message };
    }
    // Before "not found": a name server says "no such host", some say "host not found".
    if has(&[
        "dial tcp",
        "dial udp",
        "lookup ",
        "no such host",
        "timeout",
        "timed out",
        "deadline exceeded",
        "request canceled",
        "connection refused",
        "connection reset",
        "handshake",
        "x509",
        "server gave http response",
        "server misbehaving",
        "unexpected http status: 5",
        "unexpected status code 5",
        "toomanyrequests",
        "too many requests",
    ]) || lower.ends_with("eof")
    {
        return RuntimeError::RegistryUnreachable { image, message };
    }
    if has(&["manifest unknown", "name unknown", "no matching manifest", "not found", "does not exist"])
        || status == 404
    {
        return RuntimeError::ImageNotFound { image, message };
    }
    match status {
        401 | 403 => RuntimeError::ImageRefused { image, message },
        400 => RuntimeError::Refused { message },
        _ => RuntimeError::Failed { message },
    }
}

/// What a 404 misses: the message names a network better than the call does.
fn missing(message: &str, subject: Subject<'_>) -> String {
    if let Some(name) = message.strip_prefix("network ").and_then(|m| m.split(' ').next()) {
        return format!("network {name}");
    }
    match subject {
        Subject::Container(id) => format!("container {id}"),
        Subject::Making(image) => format!("image {image}"),
        Subject::Network(name) => format!("network {name}"),
        Subject::Volume(name) => format!("volume {name}"),
        Subject::Engine | Subject::Build | Subject::Image(_) => message.to_owned(),
    }
}

/// The host port in a message like `Bind for 0.0.0.0:80 failed` or `listen tcp4 0.0.0.0:80: bind`.
fn port(message: &str) -> Option<u16> {
    [
        "Bind for ",
        "listen tcp4 ",
        "listen tcp6 ",
        "listen tcp ",
        "listen udp4 ",
        "listen udp6 ",
        "listen udp ",
        "host port for ",
        "host port ",
        "exposing port TCP ",
        "exposing port UDP ",
    ]
    .iter()
    .filter_map(|marker| message.split_once(marker))
    .find_map(|(_, rest)| {
        let address = rest.split([' ', '/']).next()?;
        // `0.0.0.0:80:172.17.0.2:80` names the host's side first, `[::]:80` has colons of its own.
        let after = address.rsplit_once(']').map_or(address, |(_, port)| port);
        after.split(':').filter(|p| !p.is_empty() && !p.contains('.')).find_map(|p| p.parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Subject<'static> = Subject::Making("web:1");
    const ID: Subject<'static> = Subject::Container("c1");
    const APP: Subject<'static> = Subject::Image("r.io/app:1");

    #[test]
    fn each_message_means_what_a_caller_acts_on() {
        let kind = |e: &RuntimeError| format!("{e:?}").split([' ', '{']).next().unwrap_or_default().to_owned();
        for (status, message, subject, want) in [
            (
                500,
                "driver failed programming external connectivity on endpoint web-1 (f00): Bind for 0.0.0.0:8080 failed: port is already allocated",
                ID,
                "PortTaken",
            ),
            (
                500,
                "driver failed programming external connectivity on endpoint web-1 (f00): Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use",
                ID,
                "PortTaken",
            ),
            (
                500,
                "failed to set up container networking: failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use",
                ID,
                "PortTaken",
            ),
            (500, "failed to bind host port 0.0.0.0:8080/tcp: address already in use", ID, "PortTaken"),
            (403, "Address already in use", ID, "Refused"),
            (500, "Address already in use", ID, "Conflict"),
            (
                400,
                "invalid mount config for type \"bind\": bind source path does not exist: /srv/nope",
                WEB,
                "BindSourceMissing",
            ),
            (
                500,
                "error gathering device information while adding custom device \"/dev/nope\": no such file or directory",
                ID,
                "DeviceMissing",
            ),
            (404, "No such image: web:1", WEB, "ImageNotFound"),
            (404, "No such container: c1", ID, "NotFound"),
            (404, "network n1 not found", ID, "NotFound"),
            (409, "Conflict. The container name \"/web-1\" is already in use by container \"f00\".", WEB, "Conflict"),
            (
                400,
                "OCI runtime create failed: exec: \"nope\": executable file not found in $PATH: unknown",
                ID,
                "Refused",
            ),
            (500, "write /var/lib/docker/x: no space left on device", WEB, "DiskFull"),
            (500, "path /srv is mounted on / but it is not a shared or slave mount", ID, "Refused"),
            (
                404,
                "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
                Subject::Network("front_0123"),
                "Refused",
            ),
            (500, "something broke", ID, "Failed"),
            (500, "COPY failed: file not found in build context", Subject::Build, "Refused"),
            (
                404,
                "pull access denied for app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                APP,
                "ImageRefused",
            ),
            (500, "Head \"http://127.0.0.1:5001/v2/a/manifests/1\": no basic auth credentials", APP, "ImageRefused"),
            (500, "unauthorized: authentication required", APP, "ImageRefused"),
            (404, "manifest for r.io/app:1 not found: manifest unknown: manifest unknown", APP, "ImageNotFound"),
            (404, "name unknown: repository name not known to registry", APP, "ImageNotFound"),
            (404, "no matching manifest for linux/arm64 in the manifest list entries", APP, "ImageNotFound"),
            (500, "Get \"https://r.io/v2/\": dial tcp: lookup r.io: no such host", APP, "RegistryUnreachable"),
            (
                500,
                "Get \"https://r.io/v2/\": dial tcp 10.0.0.1:443: connect: connection refused",
                APP,
                "RegistryUnreachable",
            ),
            (
                500,
                "Get \"https://r.io/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded)",
                APP,
                "RegistryUnreachable",
            ),
            (500, "toomanyrequests: You have reached your pull rate limit", APP, "RegistryUnreachable"),
            (500, "write /var/lib/docker/tmp: no space left on device", APP, "DiskFull"),
            (400, "invalid reference format", APP, "Refused"),
        ] {
            let got = explain(status, message, subject);
            assert_eq!(kind(&got), want, "{message}: {got:?}");
        }
    }

    #[test]
    fn an_answer_without_a_reason_is_told_as_one() {
        for (status, message) in [(500, ""), (409, " \n")] {
            let told = explain(status, message, ID).to_string();
            assert!(told.contains(&format!("the engine answered {status} and gave no reason")), "{told:?}");
        }
    }

    #[test]
    fn the_port_is_the_hosts() {
        for (message, want) in [
            ("Bind for 0.0.0.0:8080 failed: port is already allocated", Some(8080)),
            ("Bind for :::8080 failed: port is already allocated", Some(8080)),
            ("listen tcp6 [::]:8080: bind: address already in use", Some(8080)),
            ("listen udp4 10.0.0.1:53: bind: address already in use", Some(53)),
            ("failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use", Some(8080)),
            ("Address already in use", None),
        ] {
            assert_eq!(port(message), want, "{message}");
        }
    }

    #[test]
    fn a_missing_network_is_called_by_its_name() {
        let got = explain(404, "network front_0123 not found", ID);
        assert_eq!(got, RuntimeError::NotFound { what: "network front_0123".into() });
    }
}
