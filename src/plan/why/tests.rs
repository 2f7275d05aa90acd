use std::collections::BTreeMap;

use super::*;
use crate::{
    model::{
        Index, ReplicaStatus,
        rollout::{Followed, Paused},
        rotation::Strategy,
        service::{FailureAction, Restart},
        status::LastExit,
    },
    plan::{
        rollout::{
            cluster::{Cluster, failed, resolved, resolved_as, spec},
            word::{Word, said},
        },
        view::Missing,
    },
};

fn reasons(cluster: &Cluster) -> Vec<(String, Reason)> {
    differences(&cluster.view, &cluster.nodes, 1_000).into_iter().map(|d| (d.path, d.reason)).collect()
}
fn condition(cluster: &Cluster, kind: ConditionType) -> (ConditionStatus, Reason) {
    let all = conditions(&cluster.view, &cluster.nodes, 1_000);
    assert_eq!(all[0].kind, ConditionType::Ready, "the summary stands first");
    all.iter().find(|c| c.kind == kind).map(|c| (c.status, c.reason)).unwrap()
}
fn report(cluster: &mut Cluster, name: &str, status: ReplicaStatus) {
    cluster.find(name).status = Some(status);
}

#[test]
fn as_declared_there_is_nothing_to_say() {
    let mut cluster = Cluster::new(1, spec("a", 2));
    cluster.settle();
    assert_eq!(reasons(&cluster), []);
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::True, Reason::UpToDate));
    assert_eq!(condition(&cluster, ConditionType::Progressing), (ConditionStatus::False, Reason::UpToDate));
    let status = status(&cluster.view, &cluster.nodes, 0).unwrap();
    assert_eq!(
        (status.replicas.desired, status.replicas.running, status.replicas.ready, status.replicas.updated),
        (2, 2, 2, 2)
    );
}

#[test]
fn an_image_that_does_not_exist_is_the_reason_of_everything() {
    let mut cluster = Cluster::new(1, spec("a", 1));
    cluster.settle();
    cluster.declare(spec("nope", 2), failed());
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    let paths: Vec<_> = found.iter().map(|d| (d.path.as_str(), d.reason, d.next_attempt)).collect();
    assert_eq!(
        paths,
        [
            ("image", Reason::ImageNotFound, Some(9_000)),
            ("replicas/web.1", Reason::ImageNotFound, None),
            ("replicas/web.2", Reason::ImageNotFound, Some(9_000)),
        ]
    );
    assert_eq!((found[0].since, found[1].actual.as_str()), (Some(5), "running revision 1"));
    assert!(found[0].hint.as_ref().unwrap().contains("constellation build DIR -t nope"));
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::False, Reason::ImageNotFound));
    assert_eq!(condition(&cluster, ConditionType::Available).0, ConditionStatus::True, "the old one serves");
}

#[test]
fn a_slot_without_a_node_says_what_each_node_lacks() {
    let mut declared = spec("a", 2);
    declared.container.ports =
        vec![serde_json::from_value(serde_json::json!({"target": 80, "published": 80})).unwrap()];
    let mut cluster = Cluster::new(1, declared);
    cluster.settle();
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].path.as_str(), found[0].reason), ("replicas/web.2", Reason::PortConflict));
    assert_eq!(found[0].message, "n1: port 80/tcp is held by web.1");
    assert_eq!(condition(&cluster, ConditionType::Scheduled), (ConditionStatus::False, Reason::NoNodeFits));
    let status = status(&cluster.view, &cluster.nodes, 0).unwrap();
    assert_eq!(status.unplaced["2"].considered[0].rejections[0].filter, "port");
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let mut cluster = Cluster::new(1, spec("a", 1));
    cluster.settle();
    let missing = |kind, name: &str, key: Option<&str>, required| Missing {
        kind,
        name: name.into(),
        key: key.map(Into::into),
        required,
    };
    cluster.view.missing = vec![
        missing(Kind::Secret, "db", None, true),
        missing(Kind::Config, "nginx", Some("a.conf"), true),
        missing(Kind::Service, "cache", None, true),
        missing(Kind::Service, "metrics", None, false),
    ];
    assert_eq!(
        reasons(&cluster),
        [
            ("secrets/db".into(), Reason::SecretMissing),
            ("configs/nginx".into(), Reason::ConfigMissing),
            ("dependsOn/cache".into(), Reason::WaitingForDependency),
        ]
    );
    let synced = (ConditionStatus::False, Reason::SecretMissing);
    assert_eq!(condition(&cluster, ConditionType::ConfigSynced), synced, "also where all that runs is well");
    let services = [cluster.view.clone()];
    assert_eq!(shared(Kind::Config, "nginx", &services)[0].path, "data[a.conf]");
    let conditions = usage::Users::new(services.to_vec(), vec![]).of(&usage::tests::config("nginx", &["x"])).conditions;
    assert_eq!((conditions[0].status, conditions[0].reason), (ConditionStatus::False, Reason::ConfigMissing));
}

#[test]
fn each_way_a_replica_can_stand_has_its_words() {
    let exit = LastExit { code: 137, oom_killed: true, at: 3, log_tail: vec!["bye".into()], ..LastExit::default() };
    let status = |phase, reason, health: &str| ReplicaStatus {
        phase,
        reason,
        health: health.into(),
        since: 7,
        next_attempt: (phase == ReplicaPhase::BackOff).then_some(99),
        last_exit: Some(exit.clone()),
        ..ReplicaStatus::default()
    };
    let table = [
        (status(ReplicaPhase::Pending, None, ""), "pending", Reason::Starting, 0),
        (status(ReplicaPhase::Pulling, None, ""), "pulling", Reason::Pulling, 0),
        (status(ReplicaPhase::Waiting, Some(Reason::SecretMissing), ""), "waiting", Reason::SecretMissing, 0),
        (status(ReplicaPhase::Running, None, "unhealthy"), "running, unhealthy", Reason::Unhealthy, 0),
        (status(ReplicaPhase::Running, None, "-"), "running, not ready", Reason::Starting, 0),
        (status(ReplicaPhase::BackOff, Some(Reason::OOMKilled), ""), "waiting to start again", Reason::OOMKilled, 1),
        (status(ReplicaPhase::Failed, None, ""), "failed", Reason::Failed, 1),
        (status(ReplicaPhase::Completed, None, ""), "completed", Reason::Completed, 1),
    ];
    for (status, actual, reason, lines) in table {
        let mut cluster = Cluster::new(1, spec("a", 1));
        cluster.settle();
        let next = status.next_attempt;
        report(&mut cluster, "web-1-00001", status);
        let found = differences(&cluster.view, &cluster.nodes, 1_000);
        let [one] = &found[..] else { panic!("{actual}: {found:?}") };
        assert_eq!((one.actual.as_str(), one.reason, one.since, one.next_attempt), (actual, reason, Some(7), next));
        assert_eq!(one.log.len(), lines, "{actual}");
        assert_eq!(replica(&cluster.view, "web-1-00001", &cluster.nodes, 1_000), found);
        assert_eq!(condition(&cluster, ConditionType::Ready).0, ConditionStatus::False);
    }
}

#[test]
fn a_job_that_ended_with_0_is_as_declared() {
    let mut declared = spec("a", 1);
    declared.container.restart = Restart::No;
    let mut cluster = Cluster::new(1, declared);
    cluster.take(&cluster.plan());
    cluster.report("web-1-00001", ReplicaPhase::Completed, false);
    assert_eq!(reasons(&cluster), []);
    assert_eq!(condition(&cluster, ConditionType::Ready).0, ConditionStatus::True);
    assert_eq!(condition(&cluster, ConditionType::Available).0, ConditionStatus::True);
}

#[test]
fn silence_is_unknown_and_suspension_is_ready_when_nothing_runs() {
    let mut cluster = Cluster::new(1, spec("a", 1));
    cluster.take(&cluster.plan());
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::Unknown, Reason::HealthUnknown));
    assert_eq!(condition(&cluster, ConditionType::Available), (ConditionStatus::Unknown, Reason::HealthUnknown));
    cluster.settle();
    cluster.declare(ServiceSpec { suspend: true, ..spec("a", 1) }, resolved());
    assert_eq!(condition(&cluster, ConditionType::Ready).0, ConditionStatus::False, "it still runs");
    cluster.settle();
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::True, Reason::Suspended));
    assert_eq!(reasons(&cluster), [("suspend".into(), Reason::Suspended)]);
}

#[test]
fn what_was_ready_when_its_engine_fell_silent_is_unknown_and_nothing_is_done_to_it() {
    let mut cluster = Cluster::new(1, spec("a", 1));
    cluster.settle();
    for reason in [Reason::DockerDown, Reason::DockerUnresponsive] {
        let status = ReplicaStatus {
            phase: ReplicaPhase::Running,
            ready: true,
            reason: Some(reason),
            health: "unknown".into(),
            ..ReplicaStatus::default()
        };
        report(&mut cluster, "web-1-00001", status);
        let found = differences(&cluster.view, &cluster.nodes, 1_000);
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((one.actual.as_str(), one.reason), ("unknown, was ready", reason));
        assert!(one.hint.is_some());
        assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::Unknown, reason));
        assert_eq!(condition(&cluster, ConditionType::Available).0, ConditionStatus::Unknown);
        assert!(cluster.plan().steps.is_empty());
    }
    // What nothing waits for is not the cause.
    let (kind, name) = (Kind::Secret, "db".into());
    cluster.view.missing = vec![Missing { kind, name, key: None, required: true }];
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::Unknown, Reason::DockerUnresponsive));
}

#[test]
fn an_update_says_what_waits_for_what() {
    let mut cluster = Cluster::new(1, spec("a", 2));
    cluster.settle();
    cluster.declare(spec("b", 2), resolved());
    cluster.take(&cluster.plan());
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    let told: Vec<_> = found.iter().map(|d| (d.path.as_str(), d.message.as_str())).collect();
    assert_eq!(
        told,
        [
            ("replicas/web.1", "waits until web-1-00001 has stopped"),
            ("replicas/web.2", "waits until web.1 is ready; one replica is replaced at a time"),
            ("replicas/web-1-00001", "A newer replica took its place: n1 lets it end"),
        ]
    );
    assert_eq!(condition(&cluster, ConditionType::Progressing), (ConditionStatus::True, Reason::ReplicaSetUpdated));
}

#[test]
fn a_transition_keeps_its_time_until_the_status_moves() {
    let mut cluster = Cluster::new(1, spec("a", 1));
    cluster.settle();
    cluster.view.status = status(&cluster.view, &cluster.nodes, 10);
    assert_eq!(status(&cluster.view, &cluster.nodes, 99), cluster.view.status, "equal facts, equal status");
    cluster.report("web-1-00001", ReplicaPhase::BackOff, false);
    let later = status(&cluster.view, &cluster.nodes, 99).unwrap();
    assert_eq!(later.conditions[0].last_transition_time, 99);
    assert_eq!(later.conditions[4].last_transition_time, 10, "Drifted did not move");
}

#[test]
fn a_replica_that_would_not_be_placed_there_now_says_so_and_stays() {
    let mut declared = spec("a", 2);
    let mut cluster = Cluster::new(2, declared.clone());
    cluster.settle();
    declared.placement.constraints = vec!["node.hostname == n1".into()];
    cluster.declare(declared.clone(), resolved());
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    let [one] = &found[..] else { panic!("{found:#?}") };
    let r = cluster.view.replicas.iter().find(|r| *r.replica.node == *"n2").unwrap();
    assert_eq!(
        (one.path.as_str(), one.reason),
        (format!("replicas/{}", r.replica.display()).as_str(), Reason::NoNodeFits)
    );
    assert_eq!(one.message, "it would not be placed there now: constraint node.hostname == n1: it is \"n2\"; it stays");
    assert!(one.hint.is_some());
    assert_eq!(replica(&cluster.view, &r.replica.name, &cluster.nodes, 1_000), found);
    assert!(cluster.plan().steps.is_empty());
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::True, Reason::UpToDate));
    // What replaces it goes where it belongs.
    declared.container.image = "b".into();
    cluster.declare(declared, resolved());
    cluster.settle();
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn content_that_changed_since_the_start_is_told_until_the_replica_is_replaced() {
    let mut declared = spec("a", 2);
    let mut cluster = Cluster::new(1, declared.clone());
    cluster.settle();
    let started: BTreeMap<String, String> = [("configs/nginx/a.conf", "1"), ("secrets/db=URL", "1")]
        .map(|(reference, digest)| (reference.into(), digest.into()))
        .into();
    for name in cluster.names() {
        cluster.find(&name).status.as_mut().unwrap().contents = started.clone();
    }
    cluster.view.contents = started.clone();
    cluster.view.strategies = started.keys().map(|reference| (reference.clone(), Strategy::Manual)).collect();
    assert_eq!(reasons(&cluster), []);
    assert_eq!(condition(&cluster, ConditionType::ConfigSynced), (ConditionStatus::True, Reason::UpToDate));
    cluster.view.contents.insert("configs/nginx/a.conf".into(), "2".into());
    cluster.view.contents.insert("secrets/db=URL".into(), "2".into());
    // One was restarted meanwhile: its files are new.
    let first = cluster.names()[0].clone();
    cluster.find(&first).status.as_mut().unwrap().contents.insert("configs/nginx/a.conf".into(), "2".into());
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    let told: Vec<_> = found.iter().map(|d| (d.path.as_str(), d.actual.as_str(), d.reason)).collect();
    assert_eq!(
        told,
        [
            ("configs/nginx/a.conf", "older in web.2", Reason::DriftDetected),
            ("secrets/db", "older in web.1, web.2", Reason::DriftDetected),
        ]
    );
    assert!(found[1].message.contains("the variable URL") && found[1].hint.is_some());
    assert_eq!(condition(&cluster, ConditionType::ConfigSynced), (ConditionStatus::False, Reason::DriftDetected));
    assert_eq!(condition(&cluster, ConditionType::Drifted).0, ConditionStatus::False, "nobody changed a container");
    assert_eq!(condition(&cluster, ConditionType::Ready).0, ConditionStatus::True);
    let services = [cluster.view.clone()];
    assert_eq!(shared(Kind::Secret, "db", &services)[0].actual, "older in web.1, web.2");
    assert_eq!(shared(Kind::Secret, "d", &services), [], "another name");
    // Where it is brought to them, time alone helps.
    cluster.view.strategies.clear();
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::False, Reason::ReplicaSetUpdated));
    assert_eq!(condition(&cluster, ConditionType::ConfigSynced), (ConditionStatus::False, Reason::ReplicaSetUpdated));
    let services = [cluster.view.clone()];
    assert_eq!(shared(Kind::Secret, "db", &services)[0].reason, Reason::ReplicaSetUpdated);
    declared.container.labels.insert("content".into(), "2".into());
    cluster.declare(declared, resolved());
    cluster.settle();
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn data_that_is_gone_comes_with_the_ways_out() {
    let mut declared = spec("a", 1);
    for (kind, source) in [("volume", "data"), ("volume", "other"), ("bind", "/srv/x")] {
        let mount = serde_json::json!({"type": kind, "source": source, "target": format!("/{source}")});
        declared.container.volumes.push(serde_json::from_value(mount).unwrap());
    }
    let mut cluster = Cluster::new(1, declared);
    cluster.settle();
    for (message, way) in [
        ("volume data_01234567 had data and is gone", "docker volume create data_01234567; or"),
        ("/srv/x had data and is gone: is a disk not mounted?", "mkdir /srv/x; or"),
    ] {
        let (reason, message) = (Some(Reason::DataMissing), message.to_owned());
        let status = ReplicaStatus { phase: ReplicaPhase::BackOff, reason, message, ..ReplicaStatus::default() };
        report(&mut cluster, "web-1-00001", status);
        let hint = differences(&cluster.view, &cluster.nodes, 1_000)[0].hint.clone().unwrap();
        for part in ["mount its disk on n1", way, "`dataPolicy: cache`"] {
            assert!(hint.contains(part), "{hint}");
        }
    }
}

#[test]
fn an_external_volume_that_was_never_there_is_to_be_made() {
    let mut declared = spec("a", 1);
    let mount = serde_json::json!({"type": "volume", "source": "media", "target": "/m", "external": true});
    declared.container.volumes.push(serde_json::from_value(mount).unwrap());
    let mut cluster = Cluster::new(1, declared);
    cluster.settle();
    let (reason, message) = (Some(Reason::DataMissing), "external volume media does not exist".to_owned());
    let status = ReplicaStatus { phase: ReplicaPhase::BackOff, reason, message, ..ReplicaStatus::default() };
    report(&mut cluster, "web-1-00001", status);
    let hint = |cluster: &Cluster| differences(&cluster.view, &cluster.nodes, 1_000)[0].hint.clone().unwrap();
    let told = hint(&cluster);
    for part in ["on n1: docker volume create media", "remove `external: true`"] {
        assert!(told.contains(part), "{told}");
    }
    // It had data: to make an empty one is not the first way out.
    let node = cluster.nodes[0].uid.clone();
    cluster.view.homes = vec![crate::plan::view::Home { source: "media".into(), node, own: true }];
    assert!(hint(&cluster).starts_with("mount its disk"), "{}", hint(&cluster));
}

#[test]
fn a_hook_that_failed_after_all_were_good_is_told_and_changes_nothing_else() {
    let mut declared = spec("a", 1);
    declared.hooks.post_deploy = vec![serde_json::from_value(serde_json::json!({"command": ["announce"]})).unwrap()];
    let mut cluster = Cluster::new(1, declared);
    cluster.settle();
    let mut record = (**cluster.view.rollout.as_ref().unwrap()).clone();
    let with = |cluster: &mut Cluster, record: &crate::model::Rollout| {
        cluster.view.rollout = Some(std::sync::Arc::new(record.clone()));
    };
    record.phase = RolloutPhase::Complete;
    (record.hooked.complete, record.hooked.due) = (1, Some(1));
    with(&mut cluster, &record);
    let rollout = |cluster: &Cluster| status(&cluster.view, &cluster.nodes, 0).unwrap().rollout.unwrap();
    assert!(rollout(&cluster).hooks, "who waits for the rollout waits for them");
    assert_eq!(condition(&cluster, ConditionType::HooksSucceeded).0, ConditionStatus::Unknown);
    let (failed, message) = (Some(Reason::HookFailed), "postDeploy: announce: exit 1".to_owned());
    record.hooked.due = None;
    record.hooked.followed = Some(Followed { revision: 1, failed, message, ..Followed::default() });
    with(&mut cluster, &record);
    assert!(!rollout(&cluster).hooks);
    assert_eq!(condition(&cluster, ConditionType::HooksSucceeded), (ConditionStatus::False, Reason::HookFailed));
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::True, Reason::UpToDate));
    assert_eq!(reasons(&cluster), [("hooks/postDeploy".to_owned(), Reason::HookFailed)]);
    // A restart is another rollout, of a revision whose hooks did not run again.
    let next = said(&cluster.view, Word::Restart, ("ann", cluster.now), Index(1_000)).unwrap().unwrap();
    with(&mut cluster, &next);
    cluster.settle();
    assert_eq!(condition(&cluster, ConditionType::HooksSucceeded), (ConditionStatus::False, Reason::HookFailed));
}

#[test]
fn hooks_that_never_ran_have_not_succeeded() {
    let mut declared = spec("a", 1);
    let mut cluster = Cluster::new(1, declared.clone());
    cluster.settle();
    let hooks = |cluster: &Cluster| {
        let all = conditions(&cluster.view, &cluster.nodes, cluster.now);
        all.into_iter().find(|c| c.kind == ConditionType::HooksSucceeded).map(|c| (c.status, c.message))
    };
    // It makes no revision: they wait for the next one.
    declared.hooks.post_deploy = vec![serde_json::from_value(serde_json::json!({"command": ["announce"]})).unwrap()];
    cluster.declare(declared.clone(), resolved());
    cluster.settle();
    assert_eq!(hooks(&cluster), None);
    declared.container.image = "b".into();
    cluster.declare(declared, resolved());
    assert_eq!(hooks(&cluster), Some((ConditionStatus::Unknown, "they follow a rollout that is complete".into())));
    cluster.settle();
    assert_eq!(hooks(&cluster), Some((ConditionStatus::Unknown, "postDeploy: announce begins on n1".into())));
    assert_eq!(reasons(&cluster), [("hooks/postDeploy".to_owned(), Reason::WaitingForHook)]);
    let name = cluster.view.hooks[0].replica.name.clone();
    report(&mut cluster, &name, ReplicaStatus { phase: ReplicaPhase::Completed, ..ReplicaStatus::default() });
    cluster.settle();
    assert_eq!(hooks(&cluster), Some((ConditionStatus::True, "1 of 1 succeeded".into())));
}

#[test]
fn what_waits_for_a_word_names_the_command() {
    let mut declared = spec("a", 3);
    (declared.update.canary, declared.update.auto_promote) = (1, false);
    let mut cluster = Cluster::new(1, declared.clone());
    cluster.settle();
    declared.container.image = "b".into();
    cluster.declare(declared, resolved());
    cluster.settle();
    let hints = |cluster: &Cluster| -> BTreeSet<String> {
        differences(&cluster.view, &cluster.nodes, cluster.now).into_iter().filter_map(|d| d.hint).collect()
    };
    assert_eq!(hints(&cluster), ["constellation rollout promote svc/web".to_owned()].into());
    let mut record = (**cluster.view.rollout.as_ref().unwrap()).clone();
    record.paused = Some(Paused { by: "ada".into(), at: 5, why: Some("the disks are slow".into()) });
    cluster.view.rollout = Some(std::sync::Arc::new(record));
    assert_eq!(hints(&cluster), ["constellation rollout resume svc/web".to_owned()].into());
    let found = differences(&cluster.view, &cluster.nodes, cluster.now);
    assert!(found.iter().any(|d| d.message == "paused by ada: the disks are slow"), "{found:?}");
}

#[test]
fn what_stays_for_an_image_that_cannot_be_fetched_names_the_ways_out() {
    let mut declared = spec("a", 1);
    declared.update.failure_action = FailureAction::Pause;
    let mut cluster = Cluster::new(1, declared.clone());
    cluster.settle();
    declared.container.image = "b".into();
    cluster.declare(declared, resolved_as(2));
    let plan = cluster.plan();
    cluster.take(&plan);
    let undo = "; or keep what runs: constellation rollout undo svc/web";
    for (reason, fix) in [
        (Reason::ImageNotFound, "push b, or correct the name in `image` and apply it"),
        (Reason::ImagePullRefused, "apply a Secret of type registry for that registry, named in `imagePullSecrets`"),
        (Reason::RegistryUnreachable, "check that n1 reaches the registry of b"),
    ] {
        cluster.fetch(0, |next| next.reason = Some(reason));
        let found = differences(&cluster.view, &cluster.nodes, cluster.now);
        assert_eq!((found[0].reason, found[0].hint.as_deref()), (reason, Some(&*format!("{fix}{undo}"))));
    }
    let now = cluster.now;
    cluster.fetch(0, |next| (next.reason, next.failing_since) = (Some(Reason::ImageNotFound), Some(now)));
    cluster.now += 20_000;
    let plan = cluster.plan();
    cluster.take(&plan);
    let hint = differences(&cluster.view, &cluster.nodes, cluster.now)[0].hint.clone().unwrap();
    assert!(hint.contains("; then: constellation rollout resume svc/web; or"), "{hint}");
}

#[test]
fn a_global_service_that_fits_nowhere_is_not_as_declared() {
    let mut declared = spec("a", 1);
    declared.mode = crate::model::service::Mode::Global;
    declared.placement.constraints = vec!["node.labels.disk == ssd".into()];
    let mut cluster = Cluster::new(2, declared.clone());
    cluster.settle();
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.path.as_str(), one.reason), ("replicas", Reason::NoNodeFits));
    let lacks = "constraint node.labels.disk == ssd: it is not set";
    assert_eq!(one.message, format!("n1: {lacks}; n2: {lacks}"));
    assert!(one.hint.is_some());
    for kind in [ConditionType::Ready, ConditionType::Progressing, ConditionType::Scheduled] {
        assert_eq!(condition(&cluster, kind), (ConditionStatus::False, Reason::NoNodeFits), "{kind}");
    }
    assert_eq!(condition(&cluster, ConditionType::Available).0, ConditionStatus::False);
    // One node is enough, and to want nothing is no lack.
    cluster.nodes[1].labels.insert("disk".into(), "ssd".into());
    cluster.settle();
    assert_eq!(reasons(&cluster), []);
    cluster.nodes[1].labels.clear();
    declared.suspend = true;
    cluster.declare(declared, resolved());
    cluster.settle();
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::True, Reason::Suspended));
}

#[test]
fn what_did_its_work_and_ended_is_counted_and_not_as_ready() {
    let mut declared = spec("a", 2);
    declared.container.restart = Restart::OnFailure(None);
    let mut cluster = Cluster::new(1, declared);
    cluster.settle();
    let told = |cluster: &Cluster| {
        let status = status(&cluster.view, &cluster.nodes, 0).unwrap();
        (status.replicas.ready, status.replicas.completed, status.replicas.told())
    };
    assert_eq!(told(&cluster), (2, 0, "2 of 2 ready".into()));
    cluster.report("web-1-00001", ReplicaPhase::Completed, false);
    assert_eq!(told(&cluster), (1, 1, "2 of 2 ready or completed".into()));
    cluster.report("web-2-00002", ReplicaPhase::Completed, false);
    assert_eq!(told(&cluster), (0, 2, "2 of 2 completed".into()));
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::True, Reason::UpToDate));
    cluster.report("web-2-00002", ReplicaPhase::Failed, false);
    assert_eq!(told(&cluster), (0, 1, "1 of 2 completed".into()));
    assert_eq!(condition(&cluster, ConditionType::Ready).0, ConditionStatus::False);
}

#[test]
fn a_fix_of_a_job_that_failed_is_about_to_take_its_place() {
    let mut declared = spec("a", 1);
    declared.container.restart = Restart::No;
    let mut cluster = Cluster::new(1, declared.clone());
    cluster.settle();
    cluster.report("web-1-00001", ReplicaPhase::Failed, false);
    assert_eq!(condition(&cluster, ConditionType::Ready), (ConditionStatus::False, Reason::Failed));
    declared.container.image = "b".into();
    cluster.declare(declared.clone(), Resolution::Pending);
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    let told: Vec<_> = found.iter().map(|d| (d.path.as_str(), d.actual.as_str(), d.reason)).collect();
    assert_eq!(
        told,
        [
            ("image", "not resolved", Reason::ImageUnresolved),
            ("replicas/web.1", "failed revision 1", Reason::ImageUnresolved),
        ]
    );
    for kind in [ConditionType::Ready, ConditionType::Progressing] {
        assert_ne!(condition(&cluster, kind).1, Reason::Failed, "{kind}");
    }
    declared.container.image = "c".into();
    cluster.declare(declared, resolved());
    assert_eq!(reasons(&cluster), [("replicas/web.1".into(), Reason::ReplicaSetUpdated)]);
    cluster.settle();
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn what_works_on_a_node_that_is_not_ready_is_told_beside_the_conditions() {
    let mut cluster = Cluster::new(2, spec("a", 2));
    cluster.settle();
    let sick = cluster.nodes[0].name.clone();
    let condition_of = |reason| Condition {
        kind: ConditionType::Ready,
        status: ConditionStatus::False,
        reason,
        message: "no answer to list within 10s".into(),
        last_transition_time: 7,
        observed_generation: 1,
    };
    cluster.nodes[0].status.get_or_insert_default().conditions = vec![condition_of(Reason::DockerUnresponsive)];
    let found = differences(&cluster.view, &cluster.nodes, 1_000);
    let told: Vec<_> = found.iter().map(|d| (d.path.clone(), d.reason, d.since)).collect();
    assert_eq!(told, [(format!("nodes/{sick}"), Reason::DockerUnresponsive, Some(7))]);
    assert!(found[0].message.contains("works there"), "{}", found[0].message);
    assert!(found[0].hint.is_some());
    assert_eq!(condition(&cluster, ConditionType::Ready).0, ConditionStatus::True);
    let there =
        |name: &str| cluster.view.replicas.iter().find(|r| *r.replica.name == *name).unwrap().replica.node == sick;
    for r in &cluster.view.replicas {
        let own = replica(&cluster.view, &r.replica.name, &cluster.nodes, 1_000);
        assert_eq!(own.len(), usize::from(there(&r.replica.name)), "{}", r.replica.name);
    }
}
