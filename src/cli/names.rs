//! Names on the command line: `svc/web`, `web`, `web=5`.
//!
//! Here: parsers for clap, with a suggestion for a kind that is nearly right. Not here: what is done with them.

use crate::model::{Kind, ObjectKey, meta::is_label};

/// A kind, or one object of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindOrKey {
    /// All of a kind.
    Kind(Kind),
    /// One.
    Key(ObjectKey),
}

/// A service and its number of replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleTo {
    /// Name of the service.
    pub service: String,
    /// Wanted.
    pub replicas: u32,
}

/// `svc`, `services`, `Service`.
///
/// # Errors
/// When it is no kind.
pub fn kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| {
        let lower = text.to_ascii_lowercase();
        let known = Kind::ALL.into_iter().flat_map(|k| [k.short(), k.plural(), k.name()]);
        let near = known
            .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase()), name))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        match near {
            Some((_, name)) => format!("unknown kind {text:?}; did you mean {}?", name.to_ascii_lowercase()),
            None => format!("unknown kind {text:?}; known: {}", Kind::known()),
        }
    })
}

/// `svc/web`.
///
/// # Errors
/// When it is not a kind and a name.
pub fn key(text: &str) -> Result<ObjectKey, String> {
    let (first, name) = text.split_once('/').ok_or_else(|| {
        let like = name(text).unwrap_or_else(|_| "web".to_owned());
        format!("{text:?} is not KIND/NAME; write it like svc/{like}")
    })?;
    Ok(ObjectKey::new(kind(first)?, self::name(name)?))
}

/// `node/n1`, or `web` for `svc/web` and `web.1`, as tables print it, for `replica/web.1`: services have no dots.
///
/// # Errors
/// When it is neither.
pub fn key_or_name(text: &str) -> Result<ObjectKey, String> {
    if text.contains('/') {
        return key(text);
    }
    let kind = if text.contains('.') { Kind::Replica } else { Kind::Service };
    name(text).map(|name| ObjectKey::new(kind, name.as_str()))
}

/// `svc` or `svc/web`.
///
/// # Errors
/// When it is neither.
pub fn kind_or_key(text: &str) -> Result<KindOrKey, String> {
    if text.contains('/') { key(text).map(KindOrKey::Key) } else { kind(text).map(KindOrKey::Kind) }
}

/// `web` or `svc/web`: the name of a service.
///
/// # Errors
/// When it names another kind, or is no name.
pub fn service(text: &str) -> Result<String, String> {
    of_kind(text, Kind::Service)
}

/// `svc/web`, or what is no object and has a name all the same: `token/ci`, `image/web:1`.
///
/// # Errors
/// When it is none of these.
pub fn about(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some(("token" | "image", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => key(text).map(|key| key.to_string()),
    }
}

/// `n1` or `node/n1`: the name of a node.
///
/// # Errors
/// When it names another kind, or is no name.
pub fn node(text: &str) -> Result<String, String> {
    of_kind(text, Kind::Node)
}

fn of_kind(text: &str, wanted: Kind) -> Result<String, String> {
    if !text.contains('/') {
        return name(text);
    }
    let key = key(text)?;
    if key.kind != wanted {
        return Err(format!("{text:?} is a {}, not a {}", key.kind.name(), wanted.name()));
    }
    Ok(key.name.to_string())
}

/// A name that can stand in a path of the API.
///
/// # Errors
/// When it cannot be the name of an object.
pub fn name(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if text.is_empty() || text.len() > 253 || !text.bytes().all(fits) || text.starts_with(['-', '.']) {
        return Err(format!("{text:?} is no name; names have small letters, digits and -"));
    }
    Ok(text.to_owned())
}

/// The name of a token.
///
/// # Errors
/// When it is no DNS-1123 label.
pub fn label(text: &str) -> Result<String, String> {
    if !is_label(text, 63) {
        return Err(format!("{text:?} is no name; it has 1 to 63 of a-z, 0-9 and -, and - neither first nor last"));
    }
    Ok(text.to_owned())
}

/// The name of a token that is there; `edge.traefik` is that of what Traefik is started with.
///
/// # Errors
/// When no token could have it.
pub fn token(text: &str) -> Result<String, String> {
    label(text.strip_prefix("edge.").unwrap_or(text)).map(|_| text.to_owned())
}

/// The name of a set: what `metadata.managedBy` may be.
///
/// # Errors
/// When a manifest could not say it.
pub fn set(text: &str) -> Result<String, String> {
    label(text).map_err(|error| error.replace("no name;", "no name of a set;"))
}

/// `web=5` or `svc/web=5`.
///
/// # Errors
/// When it is not a service and a number.
pub fn scale(text: &str) -> Result<ScaleTo, String> {
    let (target, number) =
        text.split_once('=').ok_or_else(|| format!("{text:?} has no number; write it like svc/web=5"))?;
    let replicas =
        number.parse().map_err(|_| format!("{number:?} is no number of replicas; write it like svc/web=5"))?;
    Ok(ScaleTo { service: service(target)?, replicas })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_or_refused_with_help() {
        assert_eq!(key("services/web").unwrap().to_string(), "svc/web");
        assert_eq!(service("svc/web").unwrap(), "web");
        assert_eq!(key_or_name("web"), key("svc/web"));
        assert_eq!(key_or_name("node/n1"), key("node/n1"));
        assert_eq!(key_or_name("web.1"), key("replica/web.1"));
        assert_eq!(key_or_name("svc/web.1").unwrap().kind, Kind::Service, "as it is written");
        assert_eq!(set("home-2").unwrap(), "home-2");
        assert!(["", "a b", "-a", "a-", "A"].into_iter().all(|text| set(text).is_err()));
        assert_eq!(scale("svc/web=0").unwrap(), ScaleTo { service: "web".into(), replicas: 0 });
        for (error, said) in [
            (key("web").unwrap_err(), "write it like svc/web"),
            (key("a\u{1b}[2J").unwrap_err(), "write it like svc/web"),
            (key("srv/web").unwrap_err(), "did you mean svc?"),
            (kind("secert").unwrap_err(), "did you mean secret?"),
            (kind("ingress").unwrap_err(), "middleware (mw), service (svc), route"),
            (key("svc/").unwrap_err(), "no name"),
            (key("svc/a b").unwrap_err(), "no name"),
            (key("svc/../x").unwrap_err(), "no name"),
            (service("node/n1").unwrap_err(), "is a Node"),
            (scale("web").unwrap_err(), "svc/web=5"),
            (scale("web=x").unwrap_err(), "no number"),
        ] {
            assert!(error.contains(said), "{error}");
        }
    }
}
