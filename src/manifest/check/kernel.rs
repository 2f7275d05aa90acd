//! Checks of what a container has of the kernel: parameters, limits, capabilities, security options.

use super::service::{entries, items, text};
use crate::manifest::{fault::nearest, shape::Walk, tree::Node};

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
#[rustfmt::skip]
const CAPABILITIES: [&str; 42] = [
    "ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE",
    "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE",
    "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
];

/// Checks all of them.
pub(super) fn check(walk: &mut Walk<'_, '_>, spec: &Node) {
    let host_network = text(spec, "networkMode") == Some("host");
    for entry in entries(spec, "sysctls") {
        let path = format!("spec.sysctls.{}", entry.key);
        let key = entry.key.as_str();
        let own = key.starts_with("net.") || key.starts_with("fs.mqueue.") || key == "kernel.sem";
        let own = own || ["kernel.shm", "kernel.msg"].iter().any(|p| key.starts_with(p));
        if !own {
            let fix = "a container has its own net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*; set others on the host";
            walk.wrong(entry.at, &path, format!("{key:?} is not a parameter of a container"), fix);
        } else if host_network && key.starts_with("net.") {
            walk.wrong(entry.at, &path, "net.* belongs to the host with `networkMode: host`", "set it on the host");
        }
    }
    for entry in entries(spec, "ulimits") {
        let path = format!("spec.ulimits.{}", entry.key);
        if !ULIMITS.contains(&entry.key.as_str()) {
            let fix = nearest(&entry.key, ULIMITS)
                .map_or_else(|| format!("known: {}", ULIMITS.join(", ")), |n| format!("did you mean `{n}`?"));
            walk.wrong(entry.at, &path, format!("{:?} is not a limit of a process", entry.key), fix);
        }
        let limit = |field| entry.value.get(field).and_then(|n| n.raw()?.parse::<i64>().ok());
        if let (Some(soft), Some(hard)) = (limit("soft"), limit("hard"))
            && hard != -1
            && (soft == -1 || soft > hard)
        {
            walk.wrong(
                entry.value.at,
                &path,
                format!("soft {soft} is above hard {hard}"),
                "raise `hard` or lower `soft` (-1: no limit)",
            );
        }
    }
    for field in ["capAdd", "capDrop"] {
        for (i, node) in items(spec, field).iter().enumerate() {
            let written = node.as_text().unwrap_or_default().to_ascii_uppercase();
            let bare = written.strip_prefix("CAP_").unwrap_or(&written);
            if !CAPABILITIES.contains(&bare) {
                let fix = nearest(bare, CAPABILITIES)
                    .map_or_else(|| "see `man 7 capabilities`".into(), |n| format!("did you mean {n}?"));
                let shown = walk.show(node);
                walk.wrong(
                    node.at,
                    &format!("spec.{field}[{}]", node.place(i)),
                    format!("{shown} is not a capability"),
                    fix,
                );
            }
        }
    }
    for (i, node) in items(spec, "securityOpt").iter().enumerate() {
        let option = node.as_text().unwrap_or_default();
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let path = format!("spec.securityOpt[{}]", node.place(i));
        match key {
            "no-new-privileges" if matches!(value, "" | "true" | "false") => {}
            "apparmor" | "label" | "systempaths" if !value.is_empty() => {}
            "seccomp" if matches!(value, "unconfined" | "builtin") || value.starts_with('{') => {}
            "seccomp" => walk.wrong(
                node.at,
                &path,
                "the engine takes a seccomp profile as text, not as a file",
                "write seccomp=unconfined, or the profile's JSON after seccomp=",
            ),
            _ => walk.wrong(
                node.at,
                &path,
                format!("{option:?} is not a security option"),
                "known: no-new-privileges, apparmor=…, label=…, seccomp=…, systempaths=unconfined",
            ),
        }
    }
}
