//! The single calls about images; pulls and builds are `streams`.

use super::{Engine, error::Subject, look, streams};
use crate::runtime::{
    Credentials, Image, RuntimeError, limits,
    names::{self, is_image_id},
};

impl Engine {
    pub(super) async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        if !is_image_id(reference) {
            names::reference(reference)?;
        }
        let found = self
            .find(limits::IMAGE, Subject::Making(reference), |d| async move { d.inspect_image(reference).await })
            .await?;
        Ok(found.map(look::image))
    }

    pub(super) async fn resolve(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
    ) -> Result<String, RuntimeError> {
        let parsed = names::reference(reference)?;
        let asked = match &parsed.digest {
            Some(digest) => parsed.pinned(digest),
            None => format!("{}:{}", parsed.name(), parsed.tag_or_latest()),
        };
        let answer = self
            .call(limits::RESOLVE, Subject::Image(reference), |d| async move {
                d.inspect_registry_image(&asked, credentials.map(streams::header)).await
            })
            .await
            // The engine asks the registry while we wait: its silence is the registry's.
            .map_err(|error| match error {
                RuntimeError::Unresponsive { limit, .. } => RuntimeError::RegistryUnreachable {
                    image: reference.to_owned(),
                    message: format!("no answer within {limit:?}"),
                },
                other => other,
            })?;
        let digest = answer
            .descriptor
            .digest
            .ok_or_else(|| RuntimeError::Failed { message: format!("the registry names no digest of {reference}") })?;
        Ok(parsed.pinned(&digest))
    }
}
