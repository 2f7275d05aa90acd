//! Which texts an engine is given as names. Pure; real engine and fake refuse the same.

use super::RuntimeError;
use crate::model::reference::ImageReference;

/// Names and ids become parts of a path: only what the engine itself takes for one gets there.
pub(super) fn identifier(text: &str, what: &str) -> Result<(), RuntimeError> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    Err(RuntimeError::Refused { message: format!("{text:?} is no name of a {what}") })
}

/// A reference of an image.
pub(super) fn reference(text: &str) -> Result<ImageReference, RuntimeError> {
    ImageReference::parse(text).map_err(|e| RuntimeError::Refused { message: e.to_string() })
}

/// Whether a text is the id of an image, `sha256:…`, and no reference.
pub(super) fn is_image_id(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_a_path() {
        for good in ["web-1-abcde", "a_b.c", "0123"] {
            assert!(identifier(good, "container").is_ok(), "{good}");
        }
        for bad in ["", "../info", "a/b", "a?b", "a%2f", "-a", ".a", "a b"] {
            assert!(identifier(bad, "container").is_err(), "{bad}");
        }
    }
}
