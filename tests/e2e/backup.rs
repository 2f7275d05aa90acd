//! Backups on a machine whose containers run: sealed, tried, restored after everything of the agent was wiped.
//!
//! Here: adoption without a restart, holding still until the word, and what the word lets happen. Not here: the file
//! itself (`store::backup`).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

use crate::{
    agent::{Agent, HELLO, Said, service},
    docker::Seen,
    lab::Lab,
    wait::{always, eventually, secs},
};

/// A secret key, its public one, and how files are sealed and opened with them.
struct Sealed {
    folder: tempfile::TempDir,
    public: String,
}

impl Sealed {
    fn drawn(agent: &Agent<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("cst-bk-").tempdir_in("/var/tmp").unwrap();
        let key = folder.path().join("key");
        let said = agent.cli(&["backup", "key", key.to_str().unwrap()]).exits(0);
        Self { public: said.out.trim().to_owned(), folder }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn create(&self, agent: &Agent<'_>, name: &str) -> PathBuf {
        let file = self.path(name);
        agent.cli(&["backup", "create", "--recipient", &self.public, file.to_str().unwrap()]).exits(0);
        file
    }
    /// `verify` and `restore` ask no agent.
    fn with_key(&self, agent: &Agent<'_>, command: &str, file: &Path, further: &[&str]) -> Said {
        let key = self.path("key");
        let mut args = vec!["backup", command, file.to_str().unwrap(), "-i", key.to_str().unwrap()];
        args.extend(further);
        agent.cli(&args)
    }
    fn verify(&self, agent: &Agent<'_>, file: &Path) -> Value {
        let said = self.with_key(agent, "verify", file, &["-o", "json"]).exits(0);
        serde_json::from_str(&said.out).unwrap()
    }
}

/// Everything that the agent knows is gone; what runs goes on.
fn wipe(agent: &mut Agent<'_>) {
    agent.kill();
    fs::remove_dir_all(agent.path("data")).unwrap();
}
fn restore(sealed: &Sealed, agent: &mut Agent<'_>, file: &Path) {
    let data = agent.path("data");
    let said = sealed.with_key(agent, "restore", file, &["--data-dir", data.to_str().unwrap()]).exits(0);
    assert!(said.out.contains("backup confirm"), "{}", said.out);
    agent.spawn();
    agent.wait_until_ready();
}
/// What a confirmation would do: action and service, in order.
fn pending(agent: &Agent<'_>, code: i32) -> (u64, Vec<(String, String)>) {
    let said = agent.cli(&["backup", "confirm", "--dry-run", "-o", "json"]).exits(code);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["unheard"].as_array().map_or(0, Vec::len), 0, "{report}");
    let step = |s: &Value| {
        let replica = s["replica"].as_str().unwrap();
        // Of a replica that the backup does not know only the container's name tells.
        let service = s["service"].as_str().unwrap_or_else(|| replica.split('-').next().unwrap());
        (s["action"].as_str().unwrap().to_owned(), service.to_owned())
    };
    let mut steps: Vec<_> = report["steps"].as_array().unwrap().iter().map(step).collect();
    steps.sort();
    (report["adopted"].as_u64().unwrap(), steps)
}
fn ids(seen: &[Seen]) -> Vec<String> {
    let mut ids: Vec<_> = seen.iter().map(|c| c.id.clone()).collect();
    ids.sort();
    ids
}

const SECRET: &str = "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {name: pw}\nspec: {stringData: {value: hunter2hunter2}}\n";

fn database(version: u32) -> String {
    let more = format!(
        "volumes: [{{type: volume, source: data, target: /data}}]\nsecrets: [{{source: pw}}]\nlabels: {{v: \"{version}\"}}\n"
    );
    service("db", &format!("{HELLO}{more}"))
}

#[test]
fn after_backup_wipe_and_restore_every_container_runs_on_and_the_state_is_the_same() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(&format!("{SECRET}{}{}", service("web", &format!("{HELLO}replicas: 3\n")), database(1)));
    let sealed = Sealed::drawn(&agent);
    let file = sealed.create(&agent, "home.age");
    let before = sealed.verify(&agent, &file);
    assert_eq!(
        (&before["services"], &before["secretValues"], &before["asNoted"]),
        (&2.into(), &1.into(), &true.into())
    );
    assert_eq!(before["replicas"], 4);
    let running = lab.docker.identities();
    let old = (agent.get("/api/v1/status"), agent.token());
    wipe(&mut agent);
    restore(&sealed, &mut agent, &file);
    assert_ne!(agent.token(), old.1, "the old token is that of nobody");
    assert_eq!(pending(&agent, 1), (4, vec![]), "everything is adopted, nothing is to be done");
    agent.wait_until_settled("web", secs(20));
    agent.wait_until_settled("db", secs(20));
    let status = agent.get("/api/v1/status");
    assert_eq!(status["lineage"], old.0["lineage"]);
    assert_ne!(status["cluster"], old.0["cluster"]);
    assert_eq!(status["restored"]["cluster"], old.0["cluster"]);
    let said = agent.cli(&["status"]).exits(0);
    assert!(said.out.contains("backup confirm"), "{}", said.out);
    agent.cli(&["backup", "confirm", "-y"]).exits(0);
    let again = agent.cli(&["backup", "confirm"]).exits(0);
    assert!(again.out.contains("nothing waits to be confirmed"), "{}", again.out);
    always(secs(5), "nothing was restarted", || {
        let now = lab.docker.identities();
        if now == running { Ok(()) } else { Err(format!("{running:?}\n{now:?}")) }
    });
    let after = sealed.verify(&agent, &sealed.create(&agent, "again.age"));
    assert_eq!(after["hash"], before["hash"]);
    println!("4 containers adopted, ids and StartedAt the same; state {} before and after", before["hash"]);
    // The secret is whole: a container that is made anew has it.
    let db = lab.docker.runs("db", 1).unwrap()[0].id.clone();
    lab.docker.run(&["rm", "-f", &db]);
    let new = eventually(secs(20), "it is made again", || lab.docker.runs("db", 1))[0].id.clone();
    assert_eq!(lab.docker.run(&["exec", &new, "cat", "/run/secrets/pw"]).trim(), "hunter2hunter2");
}

#[test]
fn what_happened_since_the_backup_runs_on_until_the_word_and_two_never_write_the_same_data() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    let gone = service("gone", HELLO);
    agent.apply(&format!("{SECRET}{}{}{gone}", service("web", &format!("{HELLO}replicas: 2\n")), database(1)));
    let db = lab.docker.runs("db", 1).unwrap()[0].id.clone();
    lab.docker.run(&["exec", &db, "sh", "-c", "echo first > /data/mark"]);
    let sealed = Sealed::drawn(&agent);
    let file = sealed.create(&agent, "home.age");
    // Everything below is younger than the backup.
    agent.apply(&database(2));
    agent.apply(&service("later", HELLO));
    agent.cli(&["delete", "svc/gone", "-y"]).exits(0);
    let (web, db) = (ids(&lab.docker.running("web")), ids(&lab.docker.running("db")));
    lab.docker.run(&["exec", &db[0], "sh", "-c", "echo second >> /data/mark"]);
    let running = lab.docker.identities();
    wipe(&mut agent);
    restore(&sealed, &mut agent, &file);
    let (adopted, steps) = pending(&agent, 1);
    let step = |action: &str, service: &str| (action.to_owned(), service.to_owned());
    // The database of the backup waits for the one that writes its data.
    assert_eq!(
        (adopted, steps),
        (2, vec![step("create", "db"), step("create", "gone"), step("stop", "db"), step("stop", "later")])
    );
    always(secs(5), "nothing is touched", || {
        let now = lab.docker.identities();
        if now == running { Ok(()) } else { Err(format!("{running:?}\n{now:?}")) }
    });
    // Nor by what is applied meanwhile, which is shown.
    agent.apply_with(&service("new", HELLO), &["--detach"]).exits(0);
    eventually(secs(10), "it is told that it would be made", || {
        let said = agent.cli(&["backup", "confirm", "--dry-run"]).exits(1).out;
        if said.contains("svc/new") { Ok(()) } else { Err(said) }
    });
    let refused = agent.ask("POST", "/api/v1/cluster/restore", "application/json", b"{\"shown\": \"0123\"}");
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(lab.docker.identities(), running);
    let (ended, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                most.fetch_max(lab.docker.running("db").len(), Ordering::AcqRel);
            }
        });
        agent.cli(&["backup", "confirm", "-y", "-m", "seen"]).exits(0);
        let settled = ["web", "db", "gone", "new"].map(|name| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| agent.wait_until_settled(name, secs(40))))
        });
        ended.store(true, Ordering::Release);
        for result in settled {
            result.unwrap();
        }
    });
    assert_eq!(most.load(Ordering::Acquire), 1, "two ran with the same data");
    eventually(secs(20), "what the backup does not know is gone", || match lab.docker.running("later").len() {
        0 => Ok(()),
        n => Err(format!("{n} run")),
    });
    assert_eq!(ids(&lab.docker.running("web")), web, "what was as declared was never touched");
    let now = lab.docker.runs("db", 1).unwrap()[0].id.clone();
    assert_ne!(now, db[0]);
    assert_eq!(lab.docker.run(&["exec", &now, "cat", "/data/mark"]), "first\nsecond");
    let audit = agent.get("/api/v1/audit?object=cluster/restore");
    assert_eq!(audit["items"].as_array().unwrap().iter().filter(|r| r["reason"] == "seen").count(), 1, "{audit}");
}

#[test]
fn a_backup_that_is_no_good_says_so_and_what_is_there_is_not_replaced() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(SECRET);
    let sealed = Sealed::drawn(&agent);
    let file = sealed.create(&agent, "home.age");
    let whole = fs::read(&file).unwrap();
    for hidden in ["hunter2hunter2", "stringData", "seal.key"] {
        assert!(!whole.windows(hidden.len()).any(|w| w == hidden.as_bytes()), "{hidden} can be read");
    }
    let twice = agent.cli(&["backup", "create", "--recipient", &sealed.public, file.to_str().unwrap()]).exits(2);
    assert!(twice.err.contains("not replaced"), "{}", twice.err);
    assert_eq!(fs::read(&file).unwrap(), whole);
    let phrase = sealed.path("phrase");
    fs::write(&phrase, "correct horse battery\n").unwrap();
    let phrase = phrase.to_str().unwrap();
    let other = sealed.path("phrase.age");
    let other = other.to_str().unwrap();
    agent.cli(&["backup", "create", "--passphrase-file", phrase, other]).exits(0);
    agent.cli(&["backup", "verify", "--passphrase-file", phrase, other]).exits(0);
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let bad = sealed.path("bad.age");
    fs::write(&bad, &damaged).unwrap();
    for said in [
        sealed.with_key(&agent, "verify", &bad, &[]),
        sealed.with_key(&agent, "verify", Path::new(other), &[]),
        agent.cli(&["backup", "verify", "--passphrase-file", phrase, file.to_str().unwrap()]),
    ] {
        let said = said.exits(1);
        assert!(said.err.contains("error:") && said.err.contains("hint:"), "{}", said.err);
    }
    // An agent runs there, and its data is not replaced when it ended either.
    let data = agent.path("data").to_str().unwrap().to_owned();
    sealed.with_key(&agent, "restore", &file, &["--data-dir", &data]).exits(1);
    agent.kill();
    let said = sealed.with_key(&agent, "restore", &file, &["--data-dir", &data]).exits(1);
    assert!(said.err.contains("move"), "{}", said.err);
}
