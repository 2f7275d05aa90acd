//! An agent with no more power than its unit leaves it.
//!
//! Not here: what a service manager makes of the unit's other lines (`install` asks one whether it understands them).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::{
    agent::{Agent, BINARY, HELLO, service},
    lab::Lab,
    wait::secs,
};

/// Memory at a path, as `/run` is.
struct Memory(PathBuf);

impl Memory {
    fn mount(at: PathBuf) -> Self {
        fs::create_dir_all(&at).unwrap();
        assert!(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&at).status().unwrap().success());
        Self(at)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A process that is ended with the value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ended_already_is_fine = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names of the capabilities that the unit leaves, without `CAP_`, in small letters.
fn left() -> Vec<String> {
    let unit = Command::new(BINARY).args(["agent", "unit"]).output().unwrap();
    let unit = String::from_utf8(unit.stdout).unwrap();
    let sets: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet=")).collect();
    let [set] = sets[..] else { panic!("one line says which: {sets:?}") };
    assert!(unit.lines().any(|line| line == "NoNewPrivileges=yes"), "{unit}");
    set.split_whitespace().map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase()).collect()
}

/// The capabilities that a process may ever have, as the kernel counts them.
fn bounds(process: &Path) -> u64 {
    let status = fs::read_to_string(process.join("status")).unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap()
}

#[test]
fn inside_the_walls_of_its_unit_it_names_who_holds_a_port_and_brings_secrets_to_containers() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let _in_memory = Memory::mount(agent.path("run"));
    let set: String = left().iter().map(|name| format!(",+{name}")).collect();
    let words = ["setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", &format!("-all{set}"), "--"];
    agent.under = words.map(str::to_owned).to_vec();
    agent.spawn();
    agent.wait_until_ready();
    let bounds = bounds(Path::new(&format!("/proc/{}", agent.pid())));
    assert_eq!(bounds.count_ones() as usize, left().len(), "the walls stand: {bounds:x}");

    let holder = Ended(lab.inside("/bin/busybox").args(["nc", "-l", "-p", "18083"]).spawn().unwrap());
    agent.apply_with(&service("late", &format!("{HELLO}ports: ['127.0.0.1:18083:8080']\n")), &["-d"]).exits(0);
    agent.wait_for_reason("late", "PortConflict", secs(20));
    let why = agent.cli(&["why", "svc/late"]).exits(0).out;
    assert!(why.contains(&format!("(pid {})", holder.0.id())), "{why}");

    let secret = "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {name: key}\n\
                  spec: {stringData: {value: tr0ub4dor}}\n";
    let uses = "secrets: [{source: key, uid: 7, gid: 8, mode: '0440'}]\n";
    agent.apply(&format!("{secret}{}", service("app", &format!("{HELLO}{uses}"))));
    agent.wait_until_settled("app", secs(20));
    let id = lab.docker.runs("app", 1).unwrap()[0].id.clone();
    let read = "stat -c '%a %u %g' /run/secrets/key; cat /run/secrets/key";
    assert_eq!(lab.docker.run(&["exec", &id, "sh", "-c", read]), "440 7 8\ntr0ub4dor");
    agent.cli(&["delete", "svc/app", "-y"]).exits(0);
}
