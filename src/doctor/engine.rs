//! Judgement of the engine: is it there, is it one that works well, what is known against it.

use super::{
    Check,
    holes::{self, Hole, Part, Version},
};
use crate::runtime::docker::Survey;

/// Oldest API that the agent was tried with: 1.41, of Docker 20.10.
const API: (u32, u32) = (1, 41);

/// Whether `daemon.json` bounds the logs of containers; none: there is no such file, or it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotates(pub bool);

/// Judges what an engine said, or why it said nothing.
#[must_use]
pub fn judge(survey: &Result<Survey, String>, rotates: Option<&Rotates>) -> Vec<Check> {
    let survey = match survey {
        Ok(survey) => survey,
        Err(why) => {
            let advice =
                "start it (`systemctl start docker`), or name its socket with --docker-host; an agent waits for it";
            return vec![Check::problem("engine", why, advice)];
        }
    };
    let groups = format!("version {}, driver {}", survey.cgroup_version, survey.cgroup_driver);
    let mut checks = vec![
        engine(survey),
        live_restore(survey),
        storage(survey),
        Check::ok("control groups", groups),
        parts(survey),
        logs(survey, rotates),
        others(survey),
    ];
    checks.extend(known_holes(survey));
    checks
}

fn engine(survey: &Survey) -> Check {
    let found = format!("Docker {}, API {}", survey.version, survey.api);
    let api = survey.api.split_once('.').and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)));
    if survey.rootless {
        return Check::problem(
            "engine",
            format!("{found}, rootless: its containers' addresses cannot be reached from this host"),
            "choose an engine that runs as root with --docker-host",
        );
    }
    if api.is_none_or(|api| api < API) {
        return Check::warning("engine", found, "use Docker 20.10 (API 1.41) or newer: nothing older was tried");
    }
    Check::ok("engine", found)
}

fn live_restore(survey: &Survey) -> Check {
    if survey.live_restore {
        return Check::ok("live-restore", "on: containers outlive a restart of the engine");
    }
    Check::warning(
        "live-restore",
        "off: a restart or update of the engine restarts every container",
        "write \"live-restore\": true into /etc/docker/daemon.json, then `systemctl reload docker`",
    )
}

fn storage(survey: &Survey) -> Check {
    match survey.storage_driver.as_str() {
        driver @ ("vfs" | "devicemapper" | "aufs" | "overlay") => Check::warning(
            "storage driver",
            driver,
            "use overlay2: this one is slow, uses far more room, or is not kept up any more",
        ),
        driver => Check::ok("storage driver", driver),
    }
}

fn parts(survey: &Survey) -> Check {
    let said = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    Check::ok("below the engine", format!("containerd {}, runc {}", said(&survey.containerd), said(&survey.runc)))
}

/// One for each hole.
fn known_holes(survey: &Survey) -> Vec<Check> {
    let name = "known holes";
    let of = |part, text: &str| Version::of(text).map(|version| holes::of(part, version));
    let (docker, runc) = (of(Part::Docker, &survey.version), of(Part::Runc, &survey.runc));
    let unknown = [("Docker", &docker), ("runc", &runc)].into_iter().find(|(_, holes)| holes.is_none());
    let unknown = unknown.map(|(program, _)| Check::skipped(name, format!("the version of {program} cannot be read")));
    let found = [("Docker", docker), ("runc", runc)]
        .into_iter()
        .flat_map(|(program, holes)| holes.unwrap_or_default().into_iter().map(move |hole| (program, hole)));
    let mut checks: Vec<Check> = found.map(|(program, hole)| hole_in(program, &hole, survey)).chain(unknown).collect();
    if checks.is_empty() {
        checks.push(Check::ok(name, "none that this release of Constellation knows of"));
    }
    checks
}

fn hole_in(program: &str, hole: &Hole, survey: &Survey) -> Check {
    let name = "known holes";
    let plugins = !survey.authorization.is_empty();
    let unused = if hole.by_plugin && !plugins { "; none is in use here" } else { "" };
    let found = format!("{}: {}{unused}", hole.names, hole.what);
    let advice = format!(
        "update {program}: closed in {}; a distribution may have closed it without a new number",
        hole.closed_in()
    );
    // A wall that somebody relies on, and that is not there.
    if hole.by_plugin && plugins { Check::problem(name, found, advice) } else { Check::warning(name, found, advice) }
}

fn logs(survey: &Survey, rotates: Option<&Rotates>) -> Check {
    let name = "logs of containers";
    match (survey.log_driver.as_str(), rotates) {
        ("json-file", Some(Rotates(true))) => Check::ok(name, "json-file, bounded by max-size"),
        ("json-file", _) => Check::warning(
            name,
            "json-file, and no max-size in /etc/docker/daemon.json: the log of a container grows until the disk is full",
            "write \"log-driver\": \"local\", or \"log-opts\": {\"max-size\": \"10m\", \"max-file\": \"3\"}, into daemon.json and \
             restart the engine; it counts for containers that are made afterwards",
        ),
        (driver, _) => Check::ok(name, driver),
    }
}

fn others(survey: &Survey) -> Check {
    let swarm = survey.swarm.then(|| "a Swarm".to_owned());
    let pods = survey.of_kubernetes;
    let kubernetes = (pods > 0).then(|| format!("Kubernetes ({pods} containers)"));
    let found: Vec<String> = swarm.into_iter().chain(kubernetes).collect();
    if found.is_empty() {
        return Check::ok("other orchestrators", "none on this engine");
    }
    Check::ok("other orchestrators", format!("{}; an agent leaves what is not its own alone", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn good() -> Survey {
        Survey {
            version: "29.3.1".into(),
            api: "1.54".into(),
            runc: "1.3.3".into(),
            containerd: "2.1.0".into(),
            storage_driver: "overlay2".into(),
            log_driver: "local".into(),
            live_restore: true,
            ..Survey::default()
        }
    }

    #[test]
    fn a_good_engine_is_in_order_and_a_silent_one_is_the_only_finding() {
        let checks = judge(&Ok(good()), None);
        assert!(checks.iter().all(|check| check.level == Level::Ok), "{checks:#?}");
        let silent = judge(&Err("no answer".into()), None);
        assert_eq!((silent.len(), silent[0].level), (1, Level::Problem));
    }

    #[test]
    fn each_weakness_has_its_level_and_its_advice() {
        let with = |change: fn(&mut Survey)| {
            let mut survey = good();
            change(&mut survey);
            survey
        };
        let table: [(&str, Survey, Level, &str); 10] = [
            ("engine", with(|s| s.rootless = true), Level::Problem, "rootless"),
            ("engine", with(|s| s.api = "1.40".into()), Level::Warning, "1.40"),
            ("engine", with(|s| s.api = String::new()), Level::Warning, "Docker"),
            ("live-restore", with(|s| s.live_restore = false), Level::Warning, "off"),
            ("storage driver", with(|s| s.storage_driver = "vfs".into()), Level::Warning, "vfs"),
            ("known holes", with(|s| s.version = "20.10.24+dfsg1".into()), Level::Warning, "none is in use here"),
            ("known holes", with(|s| s.runc = "1.1.5+ds1".into()), Level::Warning, "CVE-2024-21626"),
            (
                "known holes",
                with(|s| (s.version, s.authorization) = ("20.10.24".into(), vec!["opa".into()])),
                Level::Problem,
                "CVE-2024-41110",
            ),
            ("known holes", with(|s| s.runc = "dev".into()), Level::Skipped, "cannot be read"),
            ("logs of containers", with(|s| s.log_driver = "json-file".into()), Level::Warning, "max-size"),
        ];
        for (name, survey, level, said) in table {
            let checks = judge(&Ok(survey), None);
            let of_it = |check: &&Check| check.name == name && check.found.contains(said);
            let check = checks.iter().find(of_it).unwrap_or_else(|| panic!("{name}, {said}: {checks:#?}"));
            assert_eq!(check.level, level, "{name}: {check:?}");
            assert_eq!(check.advice.is_some(), level > Level::Skipped, "{name}: {check:?}");
        }
        let bounded = judge(&Ok(with(|s| s.log_driver = "json-file".into())), Some(&Rotates(true)));
        assert!(bounded.iter().all(|check| check.level == Level::Ok), "{bounded:#?}");
        let others = judge(&Ok(with(|s| (s.swarm, s.of_kubernetes) = (true, 3))), None);
        assert!(others.iter().any(|check| check.found.contains("a Swarm, Kubernetes (3 containers)")), "{others:#?}");
    }
}
