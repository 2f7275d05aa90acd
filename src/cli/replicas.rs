//! Which service a replica belongs to, and what tables call it: `web-1-x7k2p` is `web.1`.
//!
//! Here: [`Replicas`], learnt from lists and watches, with the name's own form as the second-best source.
//! Why learn: `web-admin-1-x7k2p` could be slot `admin-1` of a global service `web`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{client::Api, failure::CliError};
use crate::{
    api::wire::Object,
    model::{Kind, ObjectKey, event::Subject},
};

/// Known replicas by full name.
#[derive(Debug, Default)]
pub struct Replicas(BTreeMap<Arc<str>, (Arc<str>, String)>);

impl Replicas {
    /// From a list.
    #[must_use]
    pub fn from_list(items: &[Object]) -> Self {
        let mut known = Self::default();
        items.iter().for_each(|object| known.learn(object));
        known
    }

    /// One more.
    pub fn learn(&mut self, object: &Object) {
        let text = |field: &str| object.spec.get(field).and_then(Value::as_str);
        if let (Some(service), Some(display)) = (text("service"), text("display")) {
            self.0.insert(object.metadata.name.clone(), (service.into(), display.to_owned()));
        }
    }

    /// The service of a replica.
    #[must_use]
    pub fn service(&self, replica: &str) -> Option<Arc<str>> {
        match self.0.get(replica) {
            Some((service, _)) => Some(service.clone()),
            None => numbered(replica).map(|(service, _)| service.into()),
        }
    }

    /// The service that an event is about.
    #[must_use]
    pub fn service_of(&self, object: &Subject) -> Option<Arc<str>> {
        match object.kind {
            Kind::Service => Some(object.name.clone()),
            Kind::Replica => self.service(&object.name),
            Kind::Config | Kind::Secret | Kind::Node | Kind::Route | Kind::Middleware => None,
        }
    }

    /// Whether a known replica is called so: `replica/web.1`.
    #[must_use]
    pub fn is_slot(&self, key: &ObjectKey) -> bool {
        key.kind == Kind::Replica && self.0.values().any(|(_, display)| **display == *key.name)
    }

    /// `svc/web`, `replica/web.1`.
    #[must_use]
    pub fn display(&self, object: &Subject) -> String {
        if object.kind != Kind::Replica {
            return object.key().to_string();
        }
        match (self.0.get(&object.name), numbered(&object.name)) {
            (Some((_, display)), _) => format!("replica/{display}"),
            (None, Some((service, slot))) => format!("replica/{service}.{slot}"),
            (None, None) => object.key().to_string(),
        }
    }
}

/// The object that a person means: `replica/web.1` is the replica that shall run in that slot, else the newest
/// one that was there. Everything else stays as it is.
///
/// # Errors
/// As the API.
pub async fn meant(api: &Api, key: &ObjectKey) -> Result<ObjectKey, CliError> {
    if key.kind != Kind::Replica || !key.name.contains('.') {
        return Ok(key.clone());
    }
    let items = api.list(Kind::Replica).await?.items;
    Ok(newest(&items, &key.name).map_or_else(|| key.clone(), |o| ObjectKey::replica(o.metadata.name.clone())))
}

/// The replica that shall run under a display name, else the newest one that was there.
#[must_use]
pub fn newest<'o>(items: &'o [Object], display: &str) -> Option<&'o Object> {
    let text = |o: &'o Object, field: &str| o.spec.get(field).and_then(Value::as_str);
    items
        .iter()
        .filter(|o| text(o, "display") == Some(display))
        .max_by_key(|o| (text(o, "desired") == Some("Run"), o.metadata.created_at))
}

/// Service and slot of a full name with a numbered slot.
fn numbered(name: &str) -> Option<(&str, &str)> {
    let (rest, suffix) = name.rsplit_once('-')?;
    let (service, slot) = rest.rsplit_once('-')?;
    let fits = suffix.len() == 5 && !slot.is_empty() && slot.bytes().all(|b| b.is_ascii_digit());
    fits.then_some((service, slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uid;

    #[test]
    fn what_was_learnt_stands_above_what_a_name_looks_like() {
        let mut known = Replicas::default();
        known.0.insert("web-node-2-aaaaa".into(), ("web".into(), "web.node-2".into()));
        let subject = |name: &str| Subject { kind: Kind::Replica, name: name.into(), uid: Uid("u".into()) };
        for (name, service, display) in [
            ("web-node-2-aaaaa", Some("web"), "replica/web.node-2"),
            ("web-admin-1-x7k2p", Some("web-admin"), "replica/web-admin.1"),
            ("web-n1-x7k2p", None, "replica/web-n1-x7k2p"),
            ("odd", None, "replica/odd"),
        ] {
            assert_eq!(known.service(name).as_deref(), service, "{name}");
            assert_eq!(known.display(&subject(name)), display, "{name}");
        }
    }
}
