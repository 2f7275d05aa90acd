//! Which node this data directory belongs to, whatever the machine is called today.
//!
//! Here: [`Identity`], kept in `node.json`; [`name`], the name to go by, and [`settle`], who this is
//! once the store is open. Not here: the Node object (`reconcile::node`).
//! Invariant: a node keeps its name and uid for the life of its data directory. Under another name
//! every container of it would look like somebody else's and be removed, and its volumes like new ones.
//! Why beside the store: a node that is taken out of the log comes back as the one it was.

use std::{fs, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::AgentError;
use crate::{
    model::{Kind, Uid},
    store::{State, durable::write_durably},
};

/// Name of the file in the data directory.
pub const FILE: &str = "node.json";

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub name: Arc<str>,
    /// Identity of its Node object.
    pub uid: Uid,
}

impl Identity {
    /// Reads the identity of a data directory; none before its first registration.
    ///
    /// # Errors
    /// When it cannot be read; `InvalidData` when it is not what was written.
    pub fn read(data: &Path) -> io::Result<Option<Self>> {
        let path = data.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {e}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, data: &Path) -> io::Result<()> {
        write_durably(data, FILE, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }
}

/// The name to go by. `chosen`: a person wrote it; otherwise it is the machine's of today.
///
/// # Errors
/// [`AgentError::Renamed`] when a person asks for another name than the node has.
pub fn name(stored: Option<&Identity>, configured: &str, chosen: bool) -> Result<Arc<str>, AgentError> {
    match stored {
        Some(stored) if *stored.name != *configured && chosen => Err(renamed(&stored.name, configured)),
        Some(stored) => Ok(stored.name.clone()),
        None => Ok(configured.into()),
    }
}

/// Who this is, going by `name`, in a store as it was found. `fresh`: the uid of a new node.
///
/// # Errors
/// [`AgentError::Renamed`] when `node.json` is lost and the store knows other names;
/// [`AgentError::Impostor`] when the name is another node's.
pub fn settle(stored: Option<Identity>, name: Arc<str>, state: &State, fresh: Uid) -> Result<Identity, AgentError> {
    let known = state.objects(Kind::Node).find(|n| n.meta.name == name).map(|n| n.meta.uid.clone());
    match (stored, known) {
        (Some(stored), Some(uid)) if stored.uid != uid => Err(AgentError::Impostor(name)),
        (Some(stored), _) => Ok(stored),
        // The file was lost: the name tells.
        (None, Some(uid)) => Ok(Identity { name, uid }),
        (None, None) => match state.objects(Kind::Node).next() {
            Some(other) => Err(renamed(&other.meta.name, &name)),
            None => Ok(Identity { name, uid: fresh }),
        },
    }
}

fn renamed(is: &Arc<str>, asked: &str) -> AgentError {
    AgentError::Renamed { is: is.clone(), asked: asked.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{declared::canonical, node::NodeSpec},
        store::command::{Command, Group, PutObject},
    };

    fn identity(name: &str, uid: &str) -> Identity {
        Identity { name: name.into(), uid: Uid(uid.into()) }
    }
    fn with_nodes(nodes: &[(&str, &str)]) -> State {
        let mut state = State::default();
        for (name, uid) in nodes {
            let put = PutObject {
                kind: Kind::Node,
                name: (*name).into(),
                labels: Default::default(),
                annotations: Default::default(),
                managed_by: None,
                spec: canonical(&NodeSpec::first()).unwrap(),
                uid: Uid((*uid).into()),
                spec_hash: None,
                based_on: None,
            };
            state.apply(&Group { commands: vec![Command::Put(put)], ..Group::default() }).unwrap();
        }
        state
    }

    #[test]
    fn a_node_keeps_its_name_and_a_chosen_other_one_is_refused() {
        let stored = identity("old", "u");
        for (case, stored, configured, chosen, want) in [
            ("first start", None, "a", false, Ok("a")),
            ("first start, chosen", None, "a", true, Ok("a")),
            ("the same", Some(&stored), "old", true, Ok("old")),
            ("the machine was renamed", Some(&stored), "new", false, Ok("old")),
            ("another was asked for", Some(&stored), "new", true, Err("old")),
        ] {
            match (name(stored, configured, chosen), want) {
                (Ok(found), Ok(want)) => assert_eq!(&*found, want, "{case}"),
                (Err(AgentError::Renamed { is, asked }), Err(want)) => {
                    assert_eq!((&*is, &*asked), (want, configured), "{case}");
                }
                (found, want) => panic!("{case}: {found:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn the_store_tells_who_it_is_when_the_file_is_lost() {
        let settled = |stored, name: &str, nodes| settle(stored, name.into(), &with_nodes(nodes), Uid("new".into()));
        assert_eq!(settled(None, "n1", &[]).unwrap(), identity("n1", "new"));
        assert_eq!(settled(None, "n1", &[("n1", "a")]).unwrap(), identity("n1", "a"));
        let lost = settled(None, "n2", &[("n1", "a")]).unwrap_err();
        assert!(matches!(&lost, AgentError::Renamed { is, .. } if &**is == "n1"), "{lost}");
        // Taken out of the log: it comes back as the one it was.
        assert_eq!(settled(Some(identity("n1", "a")), "n1", &[]).unwrap(), identity("n1", "a"));
        let other = settled(Some(identity("n1", "a")), "n1", &[("n1", "b")]).unwrap_err();
        assert!(matches!(other, AgentError::Impostor(_)), "{other}");
    }

    #[test]
    fn it_is_read_as_it_was_written_and_damage_is_no_new_node() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), None);
        let written = identity("n1", "u");
        written.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(written));
        fs::write(dir.path().join(FILE), "{\"name\":").unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
