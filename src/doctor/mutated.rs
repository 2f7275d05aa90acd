//! Tables of the kernel and versions of packagers, changed as neither should change them.

use super::{
    clear::{may_be_swapped, swaps_of},
    engine::{self, Rotates},
    holes::Version,
    listening::sockets,
    machine::{controllers_of, files_of, memory_of},
};
use crate::{
    mutate::{Mutations, survives_text},
    runtime::docker::Survey,
};

#[test]
fn the_machines_tables_survive_other_kernels() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let corpus = [
        "MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:    8192000 kB\n".to_owned(),
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max open files            1024                 524288               files\n"
            .to_owned(),
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t2\t1\t0\n".to_owned(),
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
         0: 0100007F:1D13 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1\n"
            .to_owned(),
        "Filename Type Size Used Priority\n/dev/dm-1 partition 8388604 0 -2\n".to_owned(),
        "25 22 0:24 / /run rw,nosuid shared:1 - tmpfs tmpfs rw,size=1000k,noswap\n".to_owned(),
        read("/proc/meminfo"),
        read("/proc/self/limits"),
        read("/proc/net/tcp"),
    ];
    survives_text(Mutations::of("tables", corpus, 700), |table| {
        let _ = (memory_of(table), files_of(table), controllers_of(table, table));
        let _ = may_be_swapped(table, (0, 24));
        assert!(swaps_of(table).len() <= table.lines().count());
        let listening = sockets(table, false).len() + sockets(table, true).len();
        assert!(listening <= table.lines().count());
    });
}

#[test]
fn what_an_engine_says_of_itself_survives_any_packager() {
    let corpus = ["20.10.24+dfsg1", "1.6.20~ds1", "v1.4.0-rc.2", "27.1", "1.41", "2", "overlay2", "/var/lib/docker"];
    survives_text(Mutations::of("versions", corpus, 800), |text| {
        if let Some(version) = Version::of(text) {
            assert!(text.contains(|c: char| c.is_ascii_digit()), "{version:?} of {text:?}");
        }
        let survey = Survey {
            version: text.into(),
            api: text.into(),
            runc: text.into(),
            storage_driver: text.into(),
            cgroup_version: text.into(),
            authorization: vec![text.into()],
            warnings: vec![text.into()],
            ..Survey::default()
        };
        assert!(!engine::judge(&Ok(survey), Some(&Rotates(true))).is_empty());
    });
}
