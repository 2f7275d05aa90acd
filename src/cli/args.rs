//! The arguments of every command, with their help and examples.
//!
//! Here: what may be typed. Not here: what it does (`command`), the agent's flags (`config`).
//! Invariant: a flag that is accepted works.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub mod access;
pub mod backup;
pub mod change;
mod job;
pub mod look;
pub mod own;
mod rollout;
pub mod route;
pub mod secret;
#[cfg(test)]
mod shown;

pub use self::{access::*, backup::*, change::*, job::*, look::*, own::*, rollout::*, route::*, secret::*};
use crate::model::Period;

/// Runs and watches containers on one to fifty Docker machines.
#[derive(Debug, Parser)]
#[command(
    name = "constellation",
    version,
    about,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 the answer is no or differs, 2 wrong usage or invalid manifest,\n\
                  3 no connection or no quorum, 4 not allowed, 5 not found, 6 conflict,\n\
                  130 Ctrl-C ended the wait for a change, which goes on.\n\n\
                  Start with `constellation agent` as root, then `constellation apply -f examples/hello.yaml`."
)]
pub struct Cli {
    /// Where the API is: unix:///run/constellation/api.sock or http://127.0.0.1:7443 [env: CONSTELLATION_API].
    /// A token comes from CONSTELLATION_TOKEN or CONSTELLATION_TOKEN_FILE.
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub api: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run this machine's agent: it keeps the cluster's state and drives the engine
    #[command(
        after_help = "Examples:\n  constellation agent\n  constellation agent --config /etc/constellation/agent.yaml\n  \
        constellation agent --data-dir ./data --run-dir ./run --api-address 127.0.0.1:0\n  \
        constellation agent config show     what it would run with, and where that comes from\n\n\
        More exit codes: 74 a disk failed or is full (start it again), 78 a wrong setting, a wrong\n\
        data directory or damaged data (a person decides).\n\
        RUST_LOG chooses what is logged: warn,constellation=debug\n\
        SIGHUP reads the configuration again: what needs no restart is taken over, the rest is named in the log."
    )]
    Agent(Box<AgentArgs>),
    /// See what of a damaged store can be saved, and go on from there
    #[command(after_help = "Examples:\n  constellation rescue --single\n  \
        constellation rescue --single --data-dir /var/lib/constellation --accept-loss 17\n\n\
        Without --accept-loss it changes nothing. The agent must not run. The containers go on meanwhile, and are\n\
        taken over again afterwards. Exit codes: 0 done or nothing to do, 1 a person has to decide.")]
    Rescue(Rescue),
    /// Look at this machine: engine, kernel, disks, clock, ports; say what is wrong and what to do (exit 1 a problem)
    #[command(
        after_help = "Examples:\n  constellation doctor\n  constellation doctor --docker-host unix:///run/docker.sock --data-dir /srv/constellation\n  \
        constellation doctor -o json | jq '.checks[] | select(.level != \"ok\")'\n\n\
        It takes the flags of the agent, and reads its configuration file. It needs no agent and no engine, and as root\n\
        it sees more. It writes one trial file into the data directory, to time its disk, and removes it."
    )]
    Doctor(Box<Doctor>),
    /// Print the completions of a shell
    #[command(after_help = "Examples:\n  constellation completion bash > /etc/bash_completion.d/constellation\n  \
        constellation completion zsh > /usr/local/share/zsh/site-functions/_constellation\n  \
        constellation completion fish > ~/.config/fish/completions/constellation.fish")]
    Completion(Completion),
    /// Write manual pages into a directory
    #[command(after_help = "Examples:\n  constellation man /usr/local/share/man/man1")]
    Man(Man),
    /// Everything else asks an agent.
    #[command(flatten)]
    Client(Client),
}

/// What to ask an agent for.
#[derive(Debug, Subcommand)]
pub enum Client {
    /// Show what manifests would change, ask, change it and wait until it is ready
    #[command(
        after_help = "Examples:\n  constellation apply -f web.yaml\n  constellation apply -f deploy/ -y -m \"new logo\"\n  \
        constellation apply -f deploy/ --set home --prune\n  \
        constellation apply -f deploy/ -y -o json | jq '.objects[] | {name, action, wait}'\n  \
        constellation plan -f deploy/ --out change.plan && constellation apply --plan change.plan -y"
    )]
    Apply(Apply),
    /// Show what manifests would change: fields, operations, nodes and why (exit 0 nothing, 1 changes, 2+ error)
    #[command(
        after_help = "Examples:\n  constellation plan -f deploy/\n  constellation plan -f - -o json < web.yaml\n  constellation plan -f deploy/ --out change.plan"
    )]
    Plan(Plan),
    /// Compare: with -f the manifests with what is declared, without it what is declared with what runs
    #[command(
        after_help = "Examples:\n  constellation diff -f deploy/     what a commit would change (exit 0 same, 1 differs)\n  \
        constellation diff                what is not as declared, and why\n  constellation diff svc/web\n  \
        constellation diff -o json | jq -r '.objects[] | .name'"
    )]
    Diff(Diff),
    /// Check manifests without an agent
    #[command(
        after_help = "Examples:\n  constellation validate -f deploy/\n  cat web.yaml | constellation validate -f -\n  \
        constellation validate -f deploy/ -o json | jq '.errors[] | {source, line, column, path, message}'"
    )]
    Validate(Validate),
    /// List objects or show one
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  constellation get svc\n  constellation get svc/web config/app -o yaml\n  \
        constellation get replicas -l app=shop -w\n  constellation get nodes -o wide"
    )]
    Get(Get),
    /// Show one object whole: declaration, conditions, replicas, differences, events
    #[command(
        visible_alias = "inspect",
        after_help = "Examples:\n  constellation describe svc/web\n  constellation describe node/n1 --timestamps\n  \
        constellation describe svc/web -o json | jq .events"
    )]
    Describe(Describe),
    /// Say why something is not as declared, and what to do
    #[command(after_help = "Examples:\n  constellation why svc/web\n  constellation why svc/web --replica 2")]
    Why(Why),
    /// Delete objects and wait until their containers are gone; data stays
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  constellation delete svc/web\n  constellation delete -f deploy/ -y\n  \
        constellation delete svc/web config/app -y -o json | jq '.objects[] | select(.error)'\n\n\
        One that fails keeps none of the others from being deleted; the exit code is that of the first failure."
    )]
    Delete(Delete),
    /// Show what happened
    #[command(
        after_help = "Examples:\n  constellation events -w\n  constellation events --for svc/web --types Warning --since 1h\n  \
        constellation events --from-index 18442 -o json"
    )]
    Events(Events),
    /// List replicas with their containers, ended ones too
    #[command(
        after_help = "Examples:\n  constellation ps\n  constellation ps web -o wide\n  constellation ps -l app=shop -o json\n  \
        constellation get replicas -w     goes on with each change"
    )]
    Ps(Ps),
    /// Change the number of replicas and wait until they are ready
    #[command(
        after_help = "Examples:\n  constellation scale svc/web=5\n  constellation scale web=0 worker=0 -m \"night\"\n  \
        constellation scale web=5 -o json | jq '.objects[0].wait'"
    )]
    Scale(Scale),
    /// Follow, undo, pause and restart the rollout of a service
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation rollout status svc/web -w\n  constellation rollout history svc/web\n  \
        constellation rollout undo svc/web\n  constellation rollout restart svc/web"
    )]
    Rollout(RolloutCommand),
    /// Begin runs of jobs, list them and read what they write
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation job ls\n  constellation job run backup\n  constellation job logs backup --run 7"
    )]
    Job(JobCommand),
    /// Show what a service writes
    #[command(
        after_help = "Examples:\n  constellation logs web -f\n  constellation logs web --replica 2 --tail 100 --timestamps\n\n\
        At a terminal, control characters are left out; colours and tabs stay. Elsewhere a line is as it was written.\n\
        It has no -o: a line is REPLICA | TEXT; the API gives the same as JSON, /api/v1/services/NAME/logs."
    )]
    Logs(Logs),
    /// Build an image on the node from a directory
    #[command(
        after_help = "Examples:\n  constellation build . -t web:1.9\n  constellation build examples/hello -t hello:2 --build-arg VERSION=2"
    )]
    Build(Build),
    /// Show the cluster on one screen
    #[command(after_help = "Examples:\n  constellation status\n  constellation status -o json | jq .writable")]
    Status(Status),
    /// Show nodes and say whether they take new replicas
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation node ls\n  constellation node cordon n1 -m \"new disk\"\n  \
        constellation node uncordon n1"
    )]
    Node(NodeCommand),
    /// Write, list, rotate and delete secrets; never show one
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation secret set db password=-\n  constellation secret ls\n  \
        constellation secret rotate session\n  constellation secret history db"
    )]
    Secret(SecretCommand),
    /// Sealed backups: make, try, restore, confirm what a restored one would change
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation backup key backup.key\n  constellation backup create --recipient age1… home.age\n  \
        constellation backup verify -i backup.key home.age\n  constellation backup restore -i backup.key home.age\n  \
        constellation backup confirm"
    )]
    Backup(BackupCommand),
    /// Show who changed what: every change through the API, refused ones too
    #[command(after_help = "Examples:\n  constellation audit\n  constellation audit --who ci --since 24h\n  \
        constellation audit --for svc/web -o wide\n  \
        constellation audit --limit 1000 -o json | jq -r '.items[] | select(.refusal) | .who'\n\n\
        The newest 10,000 are kept (4 MiB of text at most). Requests without a right to what they ask for are in the\n\
        agent's log and in the metric constellation_api_denied. It needs the role admin.")]
    Audit(Audit),
    /// Show what is served from outside, and what is left out and why
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation route ls\n  constellation route show web.example.com"
    )]
    Route(RouteCommand),
    /// Make, list and revoke tokens of the API
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation token ls\n  constellation token create ci --role write --ttl 30d\n  \
        constellation token revoke ci"
    )]
    Token(TokenCommand),
    /// Print the JSON Schema of a manifest document
    #[command(after_help = "Examples:\n  constellation schema > constellation.schema.json\n  \
        constellation schema | jq '.definitions | keys'")]
    Schema,
    /// Show the version of this program and of the agent
    #[command(
        after_help = "Examples:\n  constellation version\n  constellation version --client -o json | jq -r .client.version"
    )]
    Version(Version),
}

/// Form of an answer. What is for programs stands alone on standard output; what is for people beside it goes
/// to standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    #[default]
    #[value(alias = "table")]
    Text,
    /// For programs
    Json,
    /// The same as YAML
    Yaml,
}

/// What to rescue.
#[derive(Debug, Args)]
pub struct Rescue {
    /// This machine's store goes on alone
    #[arg(long, required = true)]
    pub single: bool,
    /// Data directory of the agent [env: CONSTELLATION_DATA_DIR] [default: as the agent's]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Configuration file of the agent [env: CONSTELLATION_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Go on without these: the number that is shown without this flag, or `unknown`
    #[arg(long, value_name = "ENTRIES")]
    pub accept_loss: Option<String>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Form,
}

/// Which manifests.
#[derive(Debug, Args)]
pub struct Files {
    /// File, directory (read recursively: *.yaml, *.yml, *.json) or - for standard input
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,
}

/// How long to wait for a change.
#[derive(Debug, Clone, Args)]
pub struct Waiting {
    /// Return as soon as the change is accepted
    #[arg(short, long)]
    pub detach: bool,
    /// Longest wait; what is not done by then goes on
    #[arg(long, default_value = "15m", value_name = "DURATION")]
    pub timeout: Period,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

impl Waiting {
    /// For a change after which there is nothing to wait for.
    #[must_use]
    pub const fn none() -> Self {
        Self { detach: true, timeout: Period(Duration::ZERO), reason: None }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_people_type_is_understood_or_refused() {
        for (line, good) in [
            ("apply -f a.yaml -f b/ -y -m why --timeout 5m", true),
            ("apply --plan x.plan -y", true),
            ("apply", false),
            ("apply -f a --prune", false),
            ("apply -f a --prune --set home", true),
            ("apply -f a --plan b", false),
            ("apply -f a --dry-run=client", true),
            ("apply -f a --dry-run=other", false),
            ("plan -f . -o json --out p", true),
            ("plan", false),
            ("diff", true),
            ("diff svc/web -f x", false),
            ("get svc", true),
            ("get svc/web -w", true),
            ("get services web -o yaml", true),
            ("get services -l app=web -o name", true),
            ("get services web -l app=web", false),
            ("get svc web db", true),
            ("get svc/web config/x", true),
            ("apply -f a --dry-run", true),
            ("apply --dry-run -f a", true),
            ("apply -f a --dry-run=client", true),
            ("apply -f a --dry-run client", true),
            ("apply -f a --dry-run=here", false),
            ("get bogus", false),
            ("describe svc/web", true),
            ("describe web", true),
            ("why web", true),
            ("why svc/web --replica 2", true),
            ("delete svc/web config/x", true),
            ("delete", false),
            ("events -w --for svc/web --types warning --since 1h --from-index 0 -o json", true),
            ("events --types Bad", false),
            ("ps web svc/db", true),
            ("scale svc/web=5", true),
            ("scale web=0", true),
            ("scale web", false),
            ("scale web=-1", false),
            ("logs web -f --tail 10 --since 5m --replica 1 --timestamps", true),
            ("logs web --replica 1 --all-replicas", true),
            ("build . -t web:1 --build-arg A=B --target x --no-cache --pull", true),
            ("build .", false),
            ("node cordon n1 -m disk", true),
            ("node", false),
            ("token create ci --role write --ttl 30d -o json", true),
            ("token create ci", false),
            ("token create ci --role boss", false),
            ("token create ci --role edge", true),
            ("token create edge.ci --role edge", false),
            ("token revoke edge.traefik", true),
            ("token create CI --role read", false),
            ("token ls -o wide", false),
            ("audit --who ci --for svc/web --since 1h --limit 5 -o wide", true),
            ("audit --for token/ci -o yaml", true),
            ("audit --for web", false),
            ("audit --limit 1001", false),
            ("token revoke ci -m lost", true),
            ("version --client -o json", true),
            ("describe svc/web -o yaml", true),
            ("apply -f a -y -o json", true),
            ("scale web=1 -o json", true),
            ("delete svc/web -y -o yaml", true),
            ("diff -o json", true),
            ("diff -o wide", false),
            ("validate -f a -o json", true),
            ("ps -l app=web -o wide", true),
            ("ps -o text", true),
            ("node uncordon n1 n2 -o json", true),
            ("build . -t web:1 -o json", true),
            ("logs web -o json", false),
            ("status -o yaml", true),
            ("status -l app=web", false),
            ("events -o yaml", false),
            ("schema", true),
            ("rescue --single --data-dir x --accept-loss 3 -o json", true),
            ("rescue", false),
            ("--api http://127.0.0.1:1 status", true),
            ("status --api http://127.0.0.1:1", true),
            ("agent --peer-port 1 --log-filter debug", true),
            ("agent config show --peer-port 1 -o json", true),
            ("agent config check a.yaml", true),
            ("agent --peer-port 1 config show", false),
            ("agent config", false),
            ("agent unit --binary /x", true),
            ("doctor --data-dir /x -o json", true),
            ("doctor --api-address 127.0.0.1:1", true),
            ("completion zsh", true),
            ("completion", false),
            ("man /tmp/x", true),
            ("aply -f x", false),
        ] {
            let arguments = std::iter::once("constellation").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(arguments).is_ok(), good, "{line}");
        }
    }
}
