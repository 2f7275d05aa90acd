//! The image of what comes next, on the node of what it takes the place of.
//!
//! Here: [`missing`], what a working replica waits for before it is stopped; [`refused`] and [`unfetched`], what that means
//! for the rollout. Not here: fetching it (the agent, which says how far it is in the status of the old replica).
//! Invariant: a registry that is slow, silent or refuses costs no working replica.

use super::{Hold, REFUSALS, Seat, turn::Judge};
use crate::{
    model::{NextImage, Reason, ResolvedImage, Rollout},
    plan::{
        agent::attempts::refuses,
        view::{ReplicaView, ServiceView},
    },
};

/// What is said of this image by the node of a replica; none: it runs that already, or nothing is said yet.
fn said<'a>(r: &'a ReplicaView, image: &ResolvedImage) -> Option<&'a NextImage> {
    r.status.as_ref()?.next_image.as_ref().filter(|next| next.reference == image.reference())
}

/// Whether a replica runs another image than this one, as far as anybody knows.
fn other(view: &ServiceView, r: &ReplicaView, image: &ResolvedImage) -> bool {
    view.revisions.get(&r.replica.revision).and_then(|own| own.image.resolved()) != Some(image)
}

/// What a replica that works waits for until one of this image may take its place on its node.
pub(super) fn missing(view: &ServiceView, r: &ReplicaView, image: &ResolvedImage) -> Option<Hold> {
    if !other(view, r, image) {
        return None;
    }
    let node = &r.replica.node;
    match said(r, image) {
        Some(next) if next.there => None,
        Some(NextImage { reason: Some(reason), message, .. }) => {
            Some(Hold { reason: *reason, message: format!("{node} cannot fetch its image: {message}") })
        }
        Some(NextImage { message, .. }) if !message.is_empty() => {
            Some(Hold { reason: Reason::Pulling, message: format!("on {node}: {message}") })
        }
        Some(_) | None => {
            let message = format!("{node} looks whether it has {}", image.reference());
            Some(Hold { reason: Reason::Pulling, message })
        }
    }
}

/// When a replica counts as one that cannot be replaced, because its node is refused what shall take its place; not while
/// that is being fetched. What was before the rollout began or went on does not count.
pub(super) fn refused(judge: &Judge<'_>, record: &Rollout, seat: &Seat<'_>) -> Option<u64> {
    let r = seat.current.filter(|r| seat.before.is_none() && !seat.leaves && !judge.fits(r))?;
    let image = judge.target.image.resolved().filter(|image| other(judge.view, r, image))?;
    let next = said(r, image).filter(|next| !next.fetching && next.reason.is_some_and(refuses))?;
    let since = [next.failing_since, Some(record.started_at), record.resumed_at].into_iter().flatten().max()?;
    Some(since.saturating_add(REFUSALS))
}

/// What a seat waits for whose replica stays because its image is not there.
pub(super) fn unfetched(judge: &Judge<'_>, seat: &Seat<'_>) -> Option<(Reason, String)> {
    let r = seat.current.filter(|r| seat.before.is_none() && !judge.fits(r))?;
    let Hold { reason, message } = missing(judge.view, r, judge.target.image.resolved()?)?;
    Some((reason, format!("{} stays: {message}", r.replica.display())))
}
