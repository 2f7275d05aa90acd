//! Users, certificates and keys out of opened Secrets, as Traefik reads them.
//!
//! Here: lines of users ([`users`]), certificates with keys ([`Certificates`]), what is believed and shown to another
//! service ([`forward_tls`]). Not here: opening Secrets (`reconcile`).
//! Invariant: what is handed on as PEM is PEM; Traefik takes any other text for the name of a file on its disk.
//! Why a hash here: Traefik has no password in clear. The salt follows from name and password, so that the bytes do not
//! change with each reading; bcrypt would cost each request a tenth of a second.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest as _, Md5};

use super::{
    Reason, Refusal,
    document::{Certificate, ForwardTls},
    input::{Input, Material},
    refusal,
};
use crate::model::secret::content::{CERTIFICATES, KEYS, is_pem};

/// Lines of users from a Secret: its key `users`, or the one of `username` and `password`.
///
/// # Errors
/// What is missing or wrong with it; never a value.
pub(super) fn users(secret: &Material, digest: bool) -> Result<Vec<String>, String> {
    if let Some(lines) = secret.text("users") {
        if secret.is_closed() {
            return Ok(Vec::new());
        }
        let lines: Vec<String> =
            lines.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect();
        let parts = if digest { 3 } else { 2 };
        let good = |line: &String| {
            let split: Vec<&str> = line.splitn(parts, ':').collect();
            split.len() == parts && split.iter().all(|p| !p.is_empty()) && !line.chars().any(char::is_control)
        };
        return match lines.iter().position(|line| !good(line)) {
            None if lines.is_empty() => Err("has no line under its key `users`".into()),
            None => Ok(lines),
            Some(at) => {
                let form = if digest { "name:realm:hash, as htdigest" } else { "name:hash, as htpasswd" };
                Err(format!("line {} of its key `users` is not {form} writes it", at + 1))
            }
        };
    }
    match (secret.text("username"), secret.text("password")) {
        (Some(_), Some(_)) if digest => Err("has no key `users` with lines of htdigest".into()),
        (Some(_), Some(_)) if secret.is_closed() => Ok(Vec::new()),
        (Some(name), Some(password)) => {
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) || password.is_empty() {
                return Err("its `username` is empty or has a colon, or its `password` is empty".into());
            }
            Ok(vec![format!("{name}:{}", apr1(password, &salt(name, password)))])
        }
        _ => Err("has neither the key `users` nor the keys `username` and `password`".into()),
    }
}

fn salt(name: &str, password: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("constellation salt of a password for Traefik");
    for part in [name, password] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..8].to_owned()
}

/// Apache's salted hash of a password: a thousand rounds of MD5.
///
/// # Source
/// `apr_md5_encode` of the Apache Portable Runtime.
fn apr1(password: &str, salt: &str) -> String {
    const MAGIC: &[u8] = b"$apr1$";
    let (password, salt_bytes) = (password.as_bytes(), salt.as_bytes());
    let inner = Md5::new().chain_update(password).chain_update(salt_bytes).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(MAGIC).chain_update(salt_bytes);
    let mut left = password.len();
    while left > 0 {
        first.update(&inner[..left.min(16)]);
        left = left.saturating_sub(16);
    }
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update([0]);
        } else {
            first.update(&password[..1]);
        }
        bits >>= 1;
    }
    let mut hash = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round & 1 == 1 {
            next.update(password);
        } else {
            next.update(hash);
        }
        if round % 3 != 0 {
            next.update(salt_bytes);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round & 1 == 1 {
            next.update(hash);
        } else {
            next.update(password);
        }
        hash = next.finalize();
    }
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut out = format!("$apr1${salt}$");
    let mut put = |mut value: u32, digits: u32| {
        for _ in 0..digits {
            out.push(char::from(ALPHABET[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        put(u32::from(hash[a]) << 16 | u32::from(hash[b]) << 8 | u32::from(hash[c]), 4);
    }
    put(u32::from(hash[11]), 2);
    out
}

fn pem(secret: &Material, key: &str, labels: &[&str]) -> Result<Option<String>, String> {
    match secret.text(key) {
        None => Ok(None),
        Some(_) if secret.is_closed() => Ok(Some(String::new())),
        Some(text) if is_pem(text, labels) => Ok(Some(text.to_owned())),
        Some(_) => Err(format!("its key `{key}` is not PEM")),
    }
}

/// The certificates that Routes name: each is read once, and stands in the document once.
pub(super) struct Certificates<'i> {
    input: &'i Input,
    read: BTreeMap<&'i str, Result<Certificate, Refusal>>,
    served: BTreeSet<&'i str>,
    /// For the document, the first that was served first.
    pub(super) made: Vec<Certificate>,
}

impl<'i> Certificates<'i> {
    pub(super) fn new(input: &'i Input) -> Self {
        Self { input, read: BTreeMap::new(), served: BTreeSet::new(), made: Vec::new() }
    }

    /// Whether a Secret has one.
    pub(super) fn check(&mut self, name: &'i str) -> Result<(), Refusal> {
        self.of(name).as_ref().map(drop).map_err(Clone::clone)
    }

    /// Puts the one of a Secret into the document.
    pub(super) fn serve(&mut self, name: &'i str) {
        if !self.served.insert(name) {
            return;
        }
        // Two Secrets may hold the same.
        if let Ok(certificate) = self.of(name).clone()
            && !self.made.contains(&certificate)
        {
            self.made.push(certificate);
        }
    }

    fn of(&mut self, name: &'i str) -> &Result<Certificate, Refusal> {
        self.read.entry(name).or_insert_with(|| {
            let missing = |why: &str| refusal(Reason::SecretMissing, format!("secret/{name} {why}"));
            let secret = self.input.secrets.get(name).ok_or_else(|| missing("does not exist"))?;
            certificate(secret).map_err(|why| missing(&why))
        })
    }
}

/// The certificate of a Secret of `type: tls`.
///
/// # Errors
/// What is missing or wrong with it; never a value.
fn certificate(secret: &Material) -> Result<Certificate, String> {
    let missing = |key: &str| format!("has no key `{key}`");
    let cert_file = pem(secret, "tls.crt", &CERTIFICATES)?.ok_or_else(|| missing("tls.crt"))?;
    let key_file = pem(secret, "tls.key", &KEYS)?.ok_or_else(|| missing("tls.key"))?;
    Ok(Certificate { cert_file, key_file })
}

/// What is believed, and what is shown.
///
/// # Errors
/// What is missing or wrong with it; never a value.
pub(super) fn forward_tls(secret: &Material, insecure_skip_verify: bool) -> Result<ForwardTls, String> {
    let ca = pem(secret, "ca.crt", &CERTIFICATES)?;
    let (cert, key) = (pem(secret, "tls.crt", &CERTIFICATES)?, pem(secret, "tls.key", &KEYS)?);
    match (&ca, &cert, &key) {
        (None, None, None) => Err("has none of the keys `ca.crt`, `tls.crt` and `tls.key`".into()),
        (_, Some(_), None) | (_, None, Some(_)) => Err("has only one of `tls.crt` and `tls.key`".into()),
        _ => Ok(ForwardTls { ca, cert, key, insecure_skip_verify }),
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn open(values: &[(&str, &str)]) -> Material {
        Material::Open(values.iter().map(|(k, v)| ((*k).into(), Zeroizing::new(v.as_bytes().to_vec()))).collect())
    }

    #[test]
    fn a_password_is_hashed_as_apache_does() {
        // By `openssl passwd -apr1 -salt SALT PASSWORD`.
        for (salt, password, hash) in [
            ("abcdefgh", "secret", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
            ("r31.....", "myPassword", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"),
        ] {
            assert_eq!(apr1(password, salt), hash);
        }
    }

    #[test]
    fn users_come_from_lines_or_from_one_pair_and_the_rest_is_said_without_values() {
        assert_eq!(
            users(&open(&[("users", "a:{SHA}x\n\n# b\nc:$2y$05$d\n")]), false).unwrap(),
            ["a:{SHA}x", "c:$2y$05$d"]
        );
        let pair = open(&[("username", "ann"), ("password", "geheim")]);
        let line = users(&pair, false).unwrap().remove(0);
        assert!(line.starts_with("ann:$apr1$") && !line.contains("geheim"), "{line}");
        assert_eq!(users(&pair, false).unwrap(), [line], "the same each time");
        for (secret, digest, said) in [
            (open(&[("users", "geheim")]), false, "line 1"),
            (open(&[("users", "a:b")]), true, "htdigest"),
            (open(&[("users", "")]), false, "no line"),
            (pair, true, "htdigest"),
            (open(&[("username", "a:b"), ("password", "geheim")]), false, "colon"),
            (open(&[]), false, "neither"),
        ] {
            let error = users(&secret, digest).unwrap_err();
            assert!(error.contains(said) && !error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn only_pem_is_handed_on() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nMAAA\n-----END {label}-----\n");
        let good = open(&[("tls.crt", &block("CERTIFICATE").repeat(2)), ("tls.key", &block("PRIVATE KEY"))]);
        assert!(certificate(&good).is_ok());
        for (certificate_text, key) in [
            ("/etc/passwd".to_owned(), block("PRIVATE KEY")),
            (block("CERTIFICATE"), "/etc/shadow".into()),
            (block("CERTIFICATE"), block("CERTIFICATE")),
            (format!("x{}", block("CERTIFICATE")), block("PRIVATE KEY")),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----".into(), block("PRIVATE KEY")),
            (String::new(), block("PRIVATE KEY")),
        ] {
            let secret = open(&[("tls.crt", &certificate_text), ("tls.key", &key)]);
            assert!(certificate(&secret).unwrap_err().contains("is not PEM"), "{certificate_text} {key}");
        }
        assert!(forward_tls(&open(&[("tls.crt", &block("CERTIFICATE"))]), false).unwrap_err().contains("only one"));
        assert!(forward_tls(&open(&[("ca.crt", &block("CERTIFICATE"))]), false).is_ok());
    }
}
