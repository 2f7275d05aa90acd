//! Images: what an engine has, what registries give it, what it builds.

use bytes::Bytes as Chunk;

use super::*;
use crate::runtime::{BuildProgress, BuildRequest, RuntimeError};

impl World {
    async fn pull(&self, reference: &str, credentials: Option<Credentials>) -> Result<(), RuntimeError> {
        let pull = self.runtime.pull(reference.to_owned(), None, credentials);
        let progress: Vec<_> = within(pull.try_collect()).await?;
        self.pulled.lock().unwrap().push(reference.to_owned());
        for p in &progress {
            assert!(p.current <= p.total, "{p:?}");
        }
        Ok(())
    }
    /// Builds from a Dockerfile and one file `data`.
    pub(super) async fn build(&self, dockerfile: &str) -> (BuildRequest, Vec<Result<BuildProgress, RuntimeError>>) {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in [("Dockerfile", dockerfile), ("data", "42\n")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        let pieces: Vec<_> = bytes.chunks(700).map(|c| Ok(Chunk::copy_from_slice(c))).collect();
        let request = BuildRequest {
            tag: format!("constellation-test/{}:1", self.prefix),
            dockerfile: "Dockerfile".into(),
            labels: self.labels(),
            ..BuildRequest::default()
        };
        let build = self.runtime.build(request.clone(), futures::stream::iter(pieces).boxed());
        (request, tokio::time::timeout(PATIENCE * 3, build.collect()).await.expect("a build in time"))
    }
}

pub async fn an_image_is_found_by_name_and_by_id(world: &World) {
    let image = world.runtime.image(IMAGE.into()).await.unwrap().unwrap();
    assert!(image.id.starts_with("sha256:"), "{image:?}");
    assert_eq!(
        (image.os.as_str(), image.has_healthcheck, image.exposed.as_slice()),
        ("linux", false, [0u16; 0].as_slice())
    );
    assert!(!image.arch.is_empty());
    assert_eq!(world.runtime.image(image.id.clone()).await.unwrap().as_ref(), Some(&image));
    let unknown = format!("sha256:{}", "0".repeat(64));
    for missing in ["constellation-test/busybox:none", "constellation-test/nothing", unknown.as_str()] {
        assert_eq!(world.runtime.image(missing.into()).await, Ok(None), "{missing}");
    }
    let bad = world.runtime.image("Not A Reference".into()).await;
    assert!(matches!(bad, Err(RuntimeError::Refused { .. })), "{bad:?}");
    // A container may be made from the id alone.
    let plan = ContainerPlan { image: image.id.clone(), ..world.plan("by-id", Program::Serves) };
    let id = world.create(plan).await;
    assert_eq!(world.look(&id).await.image_id, image.id);
}

pub async fn a_pull_brings_what_the_registry_resolves(world: &World) {
    let tagged = |tag: &str| format!("{}/team/busybox:{tag}", world.registry);
    let pinned = world.runtime.resolve(tagged("1"), None).await.unwrap();
    assert!(pinned.starts_with(&format!("{}/team/busybox@sha256:", world.registry)), "{pinned}");
    assert_ne!(world.runtime.resolve(tagged("2"), None).await.unwrap(), pinned);
    assert_eq!(world.runtime.resolve(pinned.clone(), None).await.unwrap(), pinned, "what is pinned stays");
    world.pull(&pinned, None).await.unwrap();
    within(world.runtime.pull(pinned.clone(), None, None).try_collect::<Vec<_>>()).await.expect("and again");
    let image = world.runtime.image(pinned.clone()).await.unwrap().expect("it is there");
    assert!(image.digests.contains(&pinned), "{image:?}");
    let id = world.run(ContainerPlan { image: pinned, ..world.plan("pulled", Program::Serves) }).await;
    assert_eq!(world.look(&id).await.image_id, image.id);
}

pub async fn a_registry_that_wants_a_password_is_given_it(world: &World) {
    let secret = format!("{}/team/secret:1", world.private);
    for credentials in [None, Some(world.captain("wrong"))] {
        let resolved = world.runtime.resolve(secret.clone(), credentials.clone()).await;
        assert!(matches!(resolved, Err(RuntimeError::ImageRefused { .. })), "{resolved:?}");
        let pulled = world.pull(&secret, credentials).await;
        assert!(matches!(pulled, Err(RuntimeError::ImageRefused { .. })), "{pulled:?}");
    }
    let captain = Some(world.captain("open-sesame"));
    let pinned = world.runtime.resolve(secret.clone(), captain.clone()).await.unwrap();
    world.pull(&pinned, captain).await.unwrap();
    assert!(world.runtime.image(pinned).await.unwrap().is_some());
}

pub async fn a_registry_says_what_is_wrong(world: &World) {
    for missing in ["team/busybox:none", "team/nothing:1"] {
        let reference = format!("{}/{missing}", world.registry);
        let (pulled, resolved) =
            (world.pull(&reference, None).await, world.runtime.resolve(reference.clone(), None).await);
        for answer in [pulled, resolved.map(drop)] {
            assert!(
                matches!(&answer, Err(RuntimeError::ImageNotFound { image, .. }) if *image == reference),
                "{answer:?}"
            );
        }
    }
    let nobody = "127.0.0.1:1/team/busybox:1".to_owned();
    let (pulled, resolved) = (world.pull(&nobody, None).await, world.runtime.resolve(nobody.clone(), None).await);
    for answer in [pulled, resolved.map(drop)] {
        assert!(matches!(answer, Err(RuntimeError::RegistryUnreachable { .. })), "{answer:?}");
    }
    let bad = world.pull("Not A Reference", None).await;
    assert!(matches!(bad, Err(RuntimeError::Refused { .. })), "{bad:?}");
}

pub async fn a_build_makes_an_image(world: &World) {
    let (request, items) =
        world.build(&format!("FROM {IMAGE}\nCOPY data /data\nEXPOSE 8080\nVOLUME /b\nVOLUME /a\n")).await;
    let mut items: Vec<_> = items.into_iter().map(Result::unwrap).collect();
    let Some(BuildProgress::Done(id)) = items.pop() else { panic!("no end in {items:?}") };
    let output = |progress: &BuildProgress| match progress {
        BuildProgress::Output(line) => line.clone(),
        BuildProgress::Done(id) => panic!("done with {id} before the end"),
    };
    let lines: Vec<_> = items.iter().map(output).collect();
    assert!(lines.iter().any(|l| l.contains("COPY data /data")), "{lines:?}");
    let image = world.runtime.image(request.tag.clone()).await.unwrap().unwrap();
    assert_eq!((&image.id, image.exposed.as_slice()), (&id, [8080].as_slice()));
    assert_eq!(image.volumes, ["/a", "/b"]);
    let made = world.run(ContainerPlan { image: request.tag, ..world.plan("built", Program::Serves) }).await;
    assert_eq!(world.look(&made).await.image_id, id);
    world.runtime.remove(made).await.unwrap();
}

pub async fn a_build_that_fails_names_its_step(world: &World) {
    for (dockerfile, named) in [
        (format!("FROM {IMAGE}\nCOPY nothing /data\n"), "COPY nothing /data"),
        (format!("FROM {IMAGE}\nFLY data /data\n"), "FLY"),
    ] {
        let (request, items) = world.build(&dockerfile).await;
        match items.last() {
            Some(Err(RuntimeError::Refused { message })) => assert!(message.contains(named), "{message}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(items.iter().filter(|i| i.is_err()).count(), 1, "{items:?}");
        assert_eq!(world.runtime.image(request.tag).await, Ok(None));
    }
}
