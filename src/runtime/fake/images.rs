//! The fake's images, the registries it knows, and builds.

use std::{collections::BTreeMap, io::Read as _};

use crate::{
    model::reference::ImageReference,
    runtime::{
        BuildRequest, Credentials, Image, PullProgress, RuntimeError,
        names::{is_image_id, reference},
    },
};

/// What is here and what could be pulled.
#[derive(Default)]
pub(super) struct Images {
    /// By `name:tag` or `name@digest`.
    here: BTreeMap<String, Image>,
    /// The registries' images, by the same.
    listed: BTreeMap<String, Listing>,
}

struct Listing {
    answer: Result<(), RuntimeError>,
    /// Who may have it; none: everybody.
    only: Option<Credentials>,
    /// What it is built for, in an engine's word.
    arch: &'static str,
}

/// This machine, in an engine's word.
pub(super) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn sha256_of(text: &str) -> String {
    format!("sha256:{}", blake3::hash(text.as_bytes()).to_hex())
}

/// What an image is kept under: digest before tag, `latest` when neither is written.
fn key(reference: &ImageReference) -> String {
    match &reference.digest {
        Some(digest) => reference.pinned(digest),
        None => format!("{}:{}", reference.name(), reference.tag_or_latest()),
    }
}

/// The digest of what stands under a key.
fn digest(reference: &ImageReference) -> String {
    reference.digest.clone().unwrap_or_else(|| sha256_of(&key(reference)))
}

fn image(digests: Vec<String>, content: &str) -> Image {
    let (os, arch) = ("linux".into(), arch().into());
    Image {
        id: sha256_of(content),
        digests,
        arch,
        os,
        has_healthcheck: false,
        exposed: Vec::new(),
        volumes: Vec::new(),
    }
}

impl Images {
    pub fn find(&self, text: &str) -> Result<Option<&Image>, RuntimeError> {
        if is_image_id(text) {
            return Ok(self.here.values().find(|i| i.id == text));
        }
        let key = key(&reference(text)?);
        Ok(self.here.get(&key).or_else(|| self.here.values().find(|i| i.digests.contains(&key))))
    }
    /// It is here, as if pulled or built before.
    pub fn bring(&mut self, reference: &ImageReference) {
        let digest = digest(reference);
        self.here.insert(key(reference), image(vec![reference.pinned(&digest)], &digest));
    }
    pub fn forget(&mut self, reference: &ImageReference) {
        let key = key(reference);
        self.here.retain(|k, i| *k != key && !i.digests.contains(&key));
    }
    pub fn list(&mut self, reference: &ImageReference, answer: Result<(), RuntimeError>, only: Option<Credentials>) {
        self.listed.insert(key(reference), Listing { answer, only, arch: arch() });
    }

    pub fn alter(&mut self, reference: &ImageReference, alter: impl FnOnce(&mut Image)) {
        alter(self.here.get_mut(&key(reference)).expect("the image is here"));
    }
    pub fn list_for(&mut self, reference: &ImageReference, arch: &'static str) {
        self.listed.get_mut(&key(reference)).expect("the registry has the image").arch = arch;
    }

    pub fn resolve(&self, text: &str, credentials: Option<&Credentials>) -> Result<String, RuntimeError> {
        let asked = reference(text)?;
        let found = self.listed.iter().filter_map(|(k, listing)| Some((ImageReference::parse(k).ok()?, listing)));
        let mut same_registry = found.filter(|(r, _)| r.registry == asked.registry).peekable();
        if same_registry.peek().is_none() {
            let message = format!("dial tcp: lookup {}: connection refused", asked.registry);
            return Err(RuntimeError::RegistryUnreachable { image: text.to_owned(), message });
        }
        let is_asked = |r: &ImageReference| match &asked.digest {
            Some(asked_digest) => r.same_repository(&asked) && digest(r) == *asked_digest,
            None => key(r) == key(&asked),
        };
        let Some((listed, listing)) = same_registry.find(|(r, _)| is_asked(r)) else {
            return Err(RuntimeError::ImageNotFound { image: text.to_owned(), message: "manifest unknown".into() });
        };
        let who = |c: &Credentials| (c.username.clone(), c.password.clone());
        if listing.only.is_some() && listing.only.as_ref().map(who) != credentials.map(who) {
            let message = "unauthorized: authentication required".into();
            return Err(RuntimeError::ImageRefused { image: text.to_owned(), message });
        }
        listing.answer.clone()?;
        Ok(asked.pinned(&digest(&listed)))
    }
    pub fn pull(&mut self, text: &str, credentials: Option<&Credentials>) -> Result<PullProgress, RuntimeError> {
        let pinned = self.resolve(text, credentials)?;
        let asked = reference(text)?;
        let digest = pinned.rsplit('@').next().unwrap_or_default();
        let arch = self.listed.get(&key(&asked)).map_or(arch(), |l| l.arch);
        self.here.insert(key(&asked), Image { arch: arch.into(), ..image(vec![pinned.clone()], digest) });
        Ok(PullProgress { status: "Pull complete".into(), current: 1, total: 1 })
    }

    /// Does what a build does with `FROM`, `COPY`, `EXPOSE` and `VOLUME`; runs nothing. Answers the image's id.
    pub fn build(
        &mut self,
        request: &BuildRequest,
        context: &[u8],
        said: &mut Vec<String>,
    ) -> Result<String, RuntimeError> {
        let refused = |message: String| Err(RuntimeError::Refused { message });
        let tag = reference(&request.tag)?;
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(context);
        let read = archive.entries().and_then(|entries| {
            for entry in entries {
                let mut entry = entry?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
                files.insert(path, bytes);
            }
            Ok(())
        });
        if let Err(error) = read {
            return refused(format!("the context is no tar: {error}"));
        }
        let path = if request.dockerfile.is_empty() { "Dockerfile" } else { &request.dockerfile };
        let Some(dockerfile) = files.get(path).map(|bytes| String::from_utf8_lossy(bytes)) else {
            return refused(format!("Cannot locate specified Dockerfile: {path}"));
        };
        let steps: Vec<&str> = dockerfile.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).collect();
        let mut made = None;
        for (n, line) in steps.iter().enumerate() {
            let step = format!("Step {}/{} : {line}", n + 1, steps.len());
            said.push(step.clone());
            let words: Vec<&str> = line.split_whitespace().collect();
            match (words.as_slice(), &mut made) {
                (["FROM", base, ..], _) => match self.find(base)? {
                    Some(base) => made = Some(Image { digests: Vec::new(), ..base.clone() }),
                    None => return refused(format!("{step}: pull access denied for {base}")),
                },
                (["COPY" | "ADD", source, _], Some(_)) if files.contains_key(*source) => {}
                (["COPY" | "ADD", source, _], Some(_)) => {
                    return refused(format!("{step}: {source}: file does not exist"));
                }
                (["EXPOSE", port], Some(image)) => image.exposed.extend(port.parse::<u16>().ok()),
                (["VOLUME", path], Some(image)) => {
                    image.volumes.push((*path).to_owned());
                    image.volumes.sort_unstable();
                }
                (["CMD" | "ENTRYPOINT" | "ENV" | "LABEL" | "RUN" | "USER" | "WORKDIR" | "STOPSIGNAL", ..], Some(_)) => {
                }
                _ => return refused(format!("{step}: unknown instruction")),
            }
        }
        let Some(mut made) = made else { return refused("the Dockerfile is empty".into()) };
        made.id = sha256_of(&format!("{dockerfile}\n{}", blake3::hash(context)));
        let id = made.id.clone();
        said.push(format!("Successfully built {id}"));
        self.here.insert(key(&tag), made);
        Ok(id)
    }
}
