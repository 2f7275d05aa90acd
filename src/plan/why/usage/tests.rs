use super::*;
use crate::{
    model::{ConditionStatus, ReplicaPhase, ReplicaStatus, status::LastExit},
    plan::rollout::cluster::{Cluster, spec},
};

/// A Config with one version for each text, newest first, all under the key `a.conf`.
pub(in crate::plan) fn config(name: &str, texts: &[&str]) -> Shared {
    let content = |text: &&str| {
        let data = [("a.conf".to_owned(), (*text).to_owned())].into();
        Content::Config(Box::new(ConfigSpec { data, ..ConfigSpec::default() }))
    };
    shared(Kind::Config, name, texts.iter().map(content).collect())
}
/// A Secret with these versions, newest first.
fn secret(numbers: &[u64]) -> Shared {
    let uid = Uid("0a1b2c3d4e5f".into());
    let mut made = shared(Kind::Secret, "db", numbers.iter().map(|n| Content::Secret(name(*n, &uid))).collect());
    for (version, number) in made.versions.iter_mut().zip(numbers) {
        version.number = *number;
    }
    Shared { uid, ..made }
}
fn name(version: u64, uid: &Uid) -> String {
    SealedSecret::content_of(version, uid)
}
fn shared(kind: Kind, name: &str, contents: Vec<Content>) -> Shared {
    let count = contents.len() as u64;
    let versions = contents.into_iter().zip(0..).map(|(content, older)| {
        let number = count - older;
        Kept { number, made_at: number * 1_000, content }
    });
    Shared { kind, name: name.into(), uid: Uid("u".into()), generation: 7, created_at: 5, versions: versions.collect() }
}

/// A service whose replicas were started with this, all of them ready.
fn service(replicas: u32, reference: &str, now: &str, had: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(1, spec("a", replicas));
    cluster.settle();
    cluster.view.contents.insert(reference.into(), now.into());
    for (name, had) in cluster.names().into_iter().zip(had) {
        cluster.find(&name).status.as_mut().unwrap().contents.insert(reference.into(), (*had).into());
    }
    cluster
}
fn used(cluster: &Cluster, shared: &Shared) -> Usage {
    Users::new(vec![cluster.view.clone()], cluster.nodes.clone()).of(shared)
}
fn counts(usage: &Usage) -> Vec<(Option<u64>, u32, bool, bool)> {
    usage.versions.iter().map(|v| (v.version, v.replicas, v.current, v.kept)).collect()
}
fn complete(usage: &Usage) -> (ConditionStatus, Reason) {
    let found = usage.conditions.iter().find(|c| c.kind == ConditionType::RotationComplete).unwrap();
    (found.status, found.reason)
}

#[test]
fn replicas_are_counted_by_the_version_that_they_were_started_with() {
    let db = secret(&[4, 3]);
    let [v1, v3, v4] = [1, 3, 4].map(|n| name(n, &db.uid));
    let of_another = name(4, &Uid("ffffffffffff".into()));
    for reference in ["secrets/db", "secrets/db/url", "secrets/db=URL", "secrets/db/url=URL"] {
        let web = service(5, reference, &v4, &[&v4, &v3, &v4, &v1, &of_another]);
        let usage = used(&web, &db);
        let told =
            [(Some(4), 2, true, true), (Some(3), 1, false, true), (Some(1), 1, false, false), (None, 1, false, false)];
        assert_eq!(counts(&usage), told, "{reference}");
        assert_eq!(usage.versions[0].services, [("web".to_owned(), 2)].into());
        let in_use = &usage.conditions[1];
        assert_eq!((in_use.kind, in_use.reason), (ConditionType::InUse, Reason::VersionMissing));
        assert!(in_use.message.contains("1 replica runs with version 1"), "{}", in_use.message);
    }
    for foreign in ["secrets/db2", "secrets/d", "configs/db", "secrets/db2/url"] {
        assert_eq!(counts(&used(&service(1, foreign, &v4, &[&v3]), &db)), [], "{foreign}");
    }
}

#[test]
fn equal_content_is_the_newest_version_that_has_it_and_parts_of_two_are_the_older() {
    let app = config("app", &["new", "old", "new"]);
    let digest = |text: usize| app.versions[text].content.under(Some("a.conf")).unwrap();
    let mut web = service(2, "configs/app/a.conf", &digest(0), &[&digest(2), &digest(1)]);
    assert_eq!(counts(&used(&web, &app)), [(Some(3), 1, true, true), (Some(2), 1, false, true)]);
    let first = web.names()[0].clone();
    let contents = &mut web.find(&first).status.as_mut().unwrap().contents;
    contents.insert("configs/app=ALL".into(), app.versions[1].content.under(None).unwrap());
    assert_eq!(counts(&used(&web, &app)), [(Some(2), 2, false, true)], "its variable is of the older");
    web.report(&first, ReplicaPhase::Stopped, false);
    assert_eq!(counts(&used(&web, &app)), [(Some(2), 1, false, true)], "what ended runs with nothing");
}

#[test]
fn a_version_has_arrived_when_all_that_shall_have_it_do_and_work() {
    let db = secret(&[2, 1]);
    let [v1, v2] = [1, 2].map(|n| name(n, &db.uid));
    let web = service(2, "secrets/db", &v2, &[&v2, &v2]);
    assert_eq!(complete(&used(&web, &db)), (ConditionStatus::True, Reason::UpToDate));
    assert_eq!(used(&web, &db).conditions[2].last_transition_time, 2_000, "since the version was made");
    assert_eq!(used(&Cluster::new(1, spec("a", 1)), &db).rollout, Rollout::Complete, "nobody uses it");

    let web = service(2, "secrets/db", &v2, &[&v2, &v1]);
    let usage = used(&web, &db);
    assert_eq!(complete(&usage), (ConditionStatus::False, Reason::ReplicaSetUpdated));
    assert_eq!(usage.rollout, Rollout::Moving("svc/web: older in 1 of 2 replicas".into()));

    // The last one was replaced and is not ready yet.
    let mut web = service(2, "secrets/db", &v2, &[&v2, &v2]);
    let second = web.names()[1].clone();
    web.find(&second).status.as_mut().unwrap().ready = false;
    assert_ne!(complete(&used(&web, &db)).0, ConditionStatus::True);

    // It does not start with the new value.
    let exit = LastExit { code: 1, ..LastExit::default() };
    let status = ReplicaStatus {
        phase: ReplicaPhase::BackOff,
        reason: Some(Reason::CrashLoopBackOff),
        contents: [("secrets/db".to_owned(), v2.clone())].into(),
        last_exit: Some(exit),
        ..ReplicaStatus::default()
    };
    let mut web = service(2, "secrets/db", &v2, &[&v1, &v2]);
    web.find(&second).status = Some(status);
    let usage = used(&web, &db);
    assert_eq!(complete(&usage), (ConditionStatus::False, Reason::RotationHalted));
    assert!(matches!(&usage.rollout, Rollout::Halted(why) if why.contains("web.2")), "{usage:?}");
}

#[test]
fn what_stays_by_its_strategy_is_counted_and_not_waited_for() {
    let db = secret(&[2, 1]);
    let [v1, v2] = [1, 2].map(|n| name(n, &db.uid));
    for (strategy, reference, waits) in [
        (Strategy::Rolling, "secrets/db", true),
        (Strategy::Reload, "secrets/db", true),
        (Strategy::Reload, "secrets/db=URL", false),
        (Strategy::Manual, "secrets/db", false),
    ] {
        let mut web = service(1, reference, &v2, &[&v1]);
        web.view.strategies.insert(reference.into(), strategy);
        let usage = used(&web, &db);
        assert_eq!(complete(&usage).0, ConditionStatus::from(!waits), "{strategy:?} {reference}: {usage:?}");
        assert_eq!(counts(&usage), [(Some(1), 1, false, true)]);
    }
}
