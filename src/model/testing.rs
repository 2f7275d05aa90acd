//! Makers for tests: values as they are when nothing about them matters. A test writes what does:
//! `Replica { revision: 3, ..replica("web", 1) }`.
//!
//! Not here: a store (`store::testing`), a cluster that carries out plans (`plan::rollout::cluster`).

use std::collections::BTreeMap;

use super::{Decision, Desired, Epoch, Index, Meta, Replica, Slot, Uid};

/// `web-1-abcde`: a replica that shall run on `n1`, of the first revision, as it is before the store has it.
#[must_use]
pub fn replica(service: &str, slot: u32) -> Replica {
    let name = format!("{service}-{slot}-abcde");
    Replica {
        uid: Uid(format!("uid of {name}").into()),
        name: name.into(),
        service: service.into(),
        service_uid: Uid(format!("uid of {service}").into()),
        slot: Slot::Number(slot),
        revision: 1,
        spec_hash: "h".into(),
        node: "n1".into(),
        node_uid: Uid("uid of n1".into()),
        epoch: Epoch::default(),
        desired: Desired::Run,
        stop_reason: None,
        draining: None,
        run: None,
        hook: None,
        decision: Decision::default(),
        index: Index(0),
        resource_version: Index(0),
        created_at: 0,
    }
}

/// Of an object without labels, in its first generation.
#[must_use]
pub fn meta(name: &str) -> Meta {
    Meta {
        name: name.into(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        managed_by: None,
        uid: Uid(format!("uid of {name}").into()),
        generation: 1,
        resource_version: Index(1),
        created_at: 0,
    }
}
