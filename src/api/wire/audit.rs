//! `/api/v1/audit`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::AuditRecord;

/// Records of changes, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditList {
    /// Those that were asked for.
    pub items: Vec<AuditRecord>,
    /// Whether there are more of them, older ones or, with `after`, newer ones.
    pub more: bool,
    /// Number of the oldest record that is kept; 0: there is none.
    pub oldest: u64,
    /// Number of the newest: ask `after` it for what comes next.
    pub newest: u64,
    /// Index of the state they were read from.
    pub index: u64,
}
