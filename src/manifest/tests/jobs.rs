//! Jobs: what `mode` allows, and schedules.

use super::*;
use crate::model::{Period, Spec, service::Concurrency};

#[test]
fn a_job_has_its_defaults_and_its_own_fields() {
    let spec = |text: &str| match good(&service(text)).declared.spec {
        Spec::Service(spec) => *spec,
        other => panic!("{other:?}"),
    };
    let job = spec("mode: job");
    assert!(job.mode.is_job() && job.concurrency_policy == Concurrency::Forbid);
    assert_eq!((job.wanted_completions(), job.at_once(), job.may_fail(), job.active_deadline), (1, 1, 3, None));
    assert_eq!(job.kept_for(), Period::secs(86_400).0);
    let all = spec(
        "mode: cron\nschedule: '@daily'\ntime_zone: Europe/Berlin\nconcurrencyPolicy: replace\ncompletions: 5\n\
         replicas: 9\nbackoffLimit: 0\nactiveDeadline: 10m\nttlAfterFinished: 1h\nrestart: on-failure",
    );
    assert_eq!((all.zone(), all.at_once(), all.may_fail()), ("Europe/Berlin", 5, 0));
    assert!(all.due().unwrap().is_ok());
}

#[test]
fn what_is_wrong_with_a_job_is_told_where_it_stands_and_with_the_way_out() {
    let state = "volumes: [{type: bind, source: /srv/a, target: /a}]";
    for (text, wanted) in [
        ("mode: cron", "web.yaml:4:1: spec.schedule: is missing"),
        ("mode: cron\nschedule: 61 * * * *", "web.yaml:7:13: spec.schedule: \"61 * * * *\" is no schedule"),
        ("mode: cron\nschedule: 0 0 30 2 *", "no such day ever comes"),
        (
            "mode: cron\nschedule: '@daily'\ntimeZone: Mars",
            "web.yaml:8:13: spec.timeZone: there is no time zone \"Mars\"",
        ),
        ("mode: job\nschedule: '@daily'", "spec.schedule: a job runs once for each revision and whenever asked"),
        ("completions: 3", "spec.completions: is of jobs; this service is `mode: replicated`; write `mode: job`"),
        ("mode: global\nschedule: '@daily'", "this service is `mode: global`; write `mode: cron`, or remove it"),
        ("mode: job\nrestart: always", "spec.restart: a job ends by itself and is not restarted; leave it out"),
        ("mode: job\nrestart: unless-stopped", "spec.restart: a job ends by itself"),
        ("mode: job\nrestart: on-failure:5", "write `backoffLimit: 5`"),
        ("mode: job\nreplicas: 0", "spec.replicas: of a job it says how many run at once"),
        ("mode: job\nactiveDeadline: 0s", "spec.activeDeadline: no run could end in time"),
        ("mode: job\nupdate: {parallelism: 2}", "spec.update: a job is not rolled out"),
        ("mode: job\nexpose: [80]\nroutes: [{host: a.example.com}]", "spec.routes: a job answers no requests"),
        (&format!("mode: job\nconcurrencyPolicy: allow\n{state}"), "/srv/a is `state`: two runs must never write it"),
    ] {
        let found = errors(&service(text));
        assert!(found.len() == 1 && found[0].contains(wanted), "{text}: {found:#?}");
    }
}
