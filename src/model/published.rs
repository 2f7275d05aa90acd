//! Where the ports of a container are published, as it is stored and sent.
//!
//! Here: [`one_or_more`], which also reads what was written while there was one place for each port.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `8080/tcp` → `0.0.0.0:49153`, `127.0.0.1:8081`: a list of places, or the single one of older versions.
///
/// # Errors
/// When it is neither.
pub fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Places {
        One(String),
        More(Vec<String>),
    }
    let places = |places| match places {
        Places::One(place) => vec![place],
        Places::More(places) => places,
    };
    let read = BTreeMap::<String, Places>::deserialize(from)?;
    Ok(read.into_iter().map(|(port, given)| (port, places(given))).collect())
}
