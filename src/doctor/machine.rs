//! Judgement of the machine: kernel, clock, memory, open files.

use std::collections::BTreeSet;

use super::{
    Check,
    holes::Version,
    probe::{Descriptors, Machine, Synchronised},
};

/// Oldest kernel with what engines of today expect.
const KERNEL: &str = "4.18";
/// Controllers that limits of services need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Memory below which a machine has little left beside an engine and an agent, bytes.
const MEMORY: u64 = 512 << 20;
/// The same of what is free now.
const FREE: u64 = 128 << 20;
/// Open files that an agent may need: its connections, its streams, its log.
const FILES: u64 = 4096;

/// Judges what the kernel said.
#[must_use]
pub fn judge(machine: &Machine) -> Vec<Check> {
    vec![kernel(machine), controllers(machine), clock(machine), memory(machine)]
}

fn kernel(machine: &Machine) -> Check {
    let name = "kernel";
    let features = [
        ("overlay file system", machine.filesystems.as_ref().map(|all| all.contains("overlay"))),
        ("nf_tables", machine.nf_tables),
    ];
    let said = features.map(|(feature, there)| match there {
        Some(true) => format!("{feature} loaded"),
        // As a module it comes with the first use.
        Some(false) => format!("{feature} not loaded yet"),
        None => format!("{feature} unknown"),
    });
    let found = format!("{}, {}", machine.kernel, said.join(", "));
    match (Version::of(&machine.kernel), Version::of(KERNEL)) {
        (Some(version), Some(oldest)) if version < oldest => {
            Check::warning(name, found, format!("update to Linux {KERNEL} or newer"))
        }
        _ => Check::ok(name, found),
    }
}

fn controllers(machine: &Machine) -> Check {
    let name = "controllers of control groups";
    let Some(there) = &machine.controllers else { return Check::skipped(name, "the kernel does not say") };
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|c| !there.contains(*c)).collect();
    if missing.is_empty() {
        return Check::ok(name, CONTROLLERS.join(", "));
    }
    Check::warning(
        name,
        format!("missing: {}", missing.join(", ")),
        "limits of services will not hold: switch them on at boot (cgroup_enable=memory on some boards)",
    )
}

fn clock(machine: &Machine) -> Check {
    let name = "clock";
    if let Some(ahead) = machine.written_ahead {
        return Check::warning(
            name,
            format!("the store was written {}s in the future: the clock went back", ahead.as_secs()),
            "look at the clock and its synchronisation: ages and times of events will be wrong",
        );
    }
    match &machine.synchronised {
        Synchronised::Yes(by) => Check::ok(name, format!("synchronised ({by})")),
        Synchronised::No(by) => Check::warning(
            name,
            format!("not synchronised ({by})"),
            "run a time service: `timedatectl set-ntp true`, or chrony; members of a cluster compare times",
        ),
        Synchronised::Unknown => Check::skipped(name, "nothing here says whether it is synchronised"),
    }
}

fn memory(machine: &Machine) -> Check {
    let name = "memory";
    let Some((total, available)) = machine.memory else { return Check::skipped(name, "the kernel does not say") };
    let found = format!("{} of {} MiB available", available >> 20, total >> 20);
    if total < MEMORY || available < FREE {
        return Check::warning(name, found, "give services memory limits, or the machine more memory");
    }
    Check::ok(name, found)
}

/// Judges how many files the agent may open.
#[must_use]
pub fn judge_descriptors(descriptors: &Result<Descriptors, String>) -> Check {
    let name = "open files";
    match descriptors {
        Err(why) => Check::skipped(name, why),
        Ok(Descriptors::OfAgent { pid, limit }) if *limit < FILES => Check::warning(
            name,
            format!("{limit} for the agent (process {pid})"),
            "start it with more: LimitNOFILE=65536 in its unit, as `constellation agent unit` has it",
        ),
        Ok(Descriptors::OfAgent { pid, limit }) => Check::ok(name, format!("{limit} for the agent (process {pid})")),
        Ok(Descriptors::OfShell { limit }) => {
            Check::ok(name, format!("no agent runs here; a process of this shell may open {limit}"))
        }
    }
}

/// Controllers of `/proc/cgroups` that are switched on, or those of `cgroup.controllers`.
#[must_use]
pub fn controllers_of(cgroups: &str, unified: &str) -> BTreeSet<String> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next().filter(|name| !name.starts_with('#'))?.to_owned();
        (fields.nth(2) == Some("1")).then_some(name)
    };
    cgroups.lines().filter_map(line).chain(unified.split_whitespace().map(str::to_owned)).collect()
}

/// `MemTotal` and `MemAvailable` of `/proc/meminfo`, bytes.
#[must_use]
pub fn memory_of(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    };
    Some((field("MemTotal")?, field("MemAvailable")?))
}

/// The soft limit of open files in `/proc/PID/limits`.
#[must_use]
pub fn files_of(limits: &str) -> Option<u64> {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::Level;

    fn good() -> Machine {
        Machine {
            kernel: "6.1.0-18-amd64".into(),
            filesystems: Some(["ext4".into(), "overlay".into()].into()),
            nf_tables: Some(true),
            controllers: Some(CONTROLLERS.map(str::to_owned).into()),
            memory: Some((4 << 30, 1 << 30)),
            synchronised: Synchronised::Yes("timedatectl".into()),
            written_ahead: None,
        }
    }

    #[test]
    fn each_weakness_of_a_machine_has_its_level() {
        assert!(judge(&good()).iter().all(|check| check.level == Level::Ok), "{:#?}", judge(&good()));
        let with = |change: fn(&mut Machine)| {
            let mut machine = good();
            change(&mut machine);
            judge(&machine)
        };
        let cases: [(&str, Vec<Check>, Level, &str); 8] = [
            ("kernel", with(|m| m.kernel = "3.10.0-1160.el7".into()), Level::Warning, "3.10"),
            ("kernel", with(|m| m.nf_tables = Some(false)), Level::Ok, "nf_tables not loaded yet"),
            (CGROUPS, with(|m| m.controllers = Some(["cpu".into()].into())), Level::Warning, "memory, pids"),
            (CGROUPS, with(|m| m.controllers = None), Level::Skipped, "does not say"),
            ("clock", with(|m| m.synchronised = Synchronised::No("chronyc".into())), Level::Warning, "chronyc"),
            ("clock", with(|m| m.synchronised = Synchronised::Unknown), Level::Skipped, "nothing"),
            ("clock", with(|m| m.written_ahead = Some(Duration::from_secs(90))), Level::Warning, "90s in the future"),
            ("memory", with(|m| m.memory = Some((4 << 30, 64 << 20))), Level::Warning, "64 of 4096 MiB"),
        ];
        for (name, checks, level, said) in cases {
            let check = checks.iter().find(|check| check.name == name).unwrap();
            assert!(check.level == level && check.found.contains(said), "{name}: {check:?}");
        }
    }

    const CGROUPS: &str = "controllers of control groups";

    #[test]
    fn files_of_the_kernel_are_read() {
        let v1 = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t1\t0\npids\t3\t9\t1\n";
        assert_eq!(controllers_of(v1, "").into_iter().collect::<Vec<_>>(), ["cpu", "pids"]);
        assert_eq!(controllers_of("", "cpu memory\n").into_iter().collect::<Vec<_>>(), ["cpu", "memory"]);
        let memory = "MemTotal:        1024 kB\nMemFree:   1 kB\nMemAvailable:    512 kB\n";
        assert_eq!((memory_of(memory), memory_of("")), (Some((1 << 20, 512 << 10)), None));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!((files_of(limits), files_of("")), (Some(1024), None));
        assert_eq!(files_of("Max open files unlimited unlimited files"), Some(u64::MAX));
    }

    #[test]
    fn only_a_running_agent_can_have_too_few_files() {
        for (descriptors, level) in [
            (Descriptors::OfAgent { pid: 7, limit: 1024 }, Level::Warning),
            (Descriptors::OfAgent { pid: 7, limit: 65_536 }, Level::Ok),
            (Descriptors::OfShell { limit: 1024 }, Level::Ok),
        ] {
            assert_eq!(judge_descriptors(&Ok(descriptors)).level, level, "{descriptors:?}");
        }
    }
}
