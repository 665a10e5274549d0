//! What trouble looks like in a console or a log: the one list of texts, and nothing that judges them.

use crate::journal::event::SymptomKind::{self, *};

/// A line is trouble of this kind when it contains one of `any` and none of `not`.
struct Pattern {
    kind: SymptomKind,
    any: &'static [&'static str],
    not: &'static [&'static str],
}

/// The first that fits decides.
const PATTERNS: &[Pattern] = &[
    // A machine that shares its processors with others stumbles like this, and so does one whose clock stood
    // still: it says something about where the instance ran, nothing about its image.
    Pattern {
        kind: Environment,
        any: &[
            "detected stalls on CPUs/tasks",
            "self-detected stall on CPU",
            "detected expedited stalls",
            "rcu_preempt kthread starved",
            "rcu_sched kthread starved",
            "BUG: soft lockup",
            "BUG: workqueue lockup",
            "clocksource: timekeeping watchdog",
            "clocksource: Marking clocksource",
            "hrtimer: interrupt took",
            "perf: interrupt took too long",
        ],
        not: &[],
    },
    Pattern {
        kind: KernelPanic,
        any: &[
            "Kernel panic - not syncing",
            "BUG: unable to handle",
            "BUG: kernel NULL pointer dereference",
            "kernel BUG at ",
            "Internal error: Oops",
            "Oops: ",
            "general protection fault, ",
        ],
        not: &["traps: "],
    },
    Pattern {
        kind: OutOfMemory,
        any: &["Out of memory: Killed process", "Memory cgroup out of memory: Killed process"],
        not: &[],
    },
    Pattern {
        kind: OutOfMemory,
        any: &["has been killed by the OOM killer", "Failed with result 'oom-kill'"],
        not: &[],
    },
    Pattern { kind: Segfault, any: &["]: segfault at "], not: &[] },
    Pattern { kind: Segfault, any: &["Failed with result 'core-dump'"], not: &[] },
    Pattern {
        kind: Segfault,
        any: &["trap invalid opcode ip:", "trap divide error ip:", "general protection fault ip:"],
        not: &[],
    },
    Pattern {
        kind: FileSystem,
        any: &[
            "EXT4-fs error",
            "Remounting filesystem read-only",
            "Aborting journal on device",
            "JBD2: Detected IO errors",
            "Metadata corruption detected",
            "Corruption of in-memory data",
            "BTRFS error",
            "BTRFS critical",
            "UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY",
        ],
        not: &[],
    },
    Pattern {
        kind: IoError,
        any: &["I/O error, dev ", "Buffer I/O error on dev", "lost async page write"],
        not: &[],
    },
    Pattern { kind: HungTask, any: &[" blocked for more than "], not: &["IO_URING"] },
    Pattern {
        kind: FailedUnit,
        any: &["[FAILED] Failed to ", "You are in emergency mode", "Failed with result 'watchdog'"],
        not: &[],
    },
];

/// What kind of trouble this line tells of, if any. The line is free of escape sequences.
pub fn kind_of(line: &str) -> Option<SymptomKind> {
    let contains = |texts: &[&str]| texts.iter().any(|text| line.contains(text));
    PATTERNS
        .iter()
        .find(|pattern| contains(pattern.any) && !contains(pattern.not))
        .map(|pattern| pattern.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as consoles and journals really print them.
    #[test]
    fn trouble_is_recognised() {
        for (line, kind) in [
            ("[  214.905034] Kernel panic - not syncing: sysrq triggered crash", KernelPanic),
            (
                "[   12.3] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
                KernelPanic,
            ),
            ("[  101.2] BUG: unable to handle page fault for address: ffffffffc0a00000", KernelPanic),
            ("[  101.2] BUG: kernel NULL pointer dereference, address: 0000000000000008", KernelPanic),
            ("[   55.1] kernel BUG at fs/ext4/inode.c:2732!", KernelPanic),
            (
                "[   55.1] general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1]",
                KernelPanic,
            ),
            (
                "[  309.4] Out of memory: Killed process 812 (postgres) total-vm:164260kB, anon-rss:51200kB",
                OutOfMemory,
            ),
            ("[  309.4] Memory cgroup out of memory: Killed process 99 (stress) total-vm:1kB", OutOfMemory),
            ("redis-server.service: A process of this unit has been killed by the OOM killer.", OutOfMemory),
            (
                "[   77.7] nginx[411]: segfault at 10 ip 00005581c2 sp 00007ffd error 4 in nginx[5581+e7000]",
                Segfault,
            ),
            (
                "[   77.7] traps: etcd[300] general protection fault ip:7f3b sp:7ffc error:0 in libc.so.6",
                Segfault,
            ),
            (
                "[   77.7] traps: a.out[300] trap invalid opcode ip:55d0 sp:7ffe error:0 in a.out[55d0+1000]",
                Segfault,
            ),
            ("etcd.service: Failed with result 'core-dump'.", Segfault),
            (
                "[   90.0] EXT4-fs error (device vda2): ext4_find_entry:1683: inode #2: comm ls: reading directory",
                FileSystem,
            ),
            ("[   90.1] EXT4-fs (vda2): Remounting filesystem read-only", FileSystem),
            ("[   90.1] Aborting journal on device vda2-8.", FileSystem),
            ("[   89.9] blk_update_request: I/O error, dev vda, sector 1234 op 0x1:(WRITE)", IoError),
            (
                "[   89.9] I/O error, dev vdb, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
                IoError,
            ),
            ("[   89.9] Buffer I/O error on dev vdb, logical block 0, lost async page write", IoError),
            ("[  363.1] INFO: task jbd2/vda2-8:87 blocked for more than 120 seconds.", HungTask),
            ("[FAILED] Failed to start nginx.service - A high performance web server.", FailedUnit),
            ("[FAILED] Failed to mount var-lib-etcd.mount - /var/lib/etcd.", FailedUnit),
            ("[ 1221.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Environment),
            ("[ 1221.0] rcu: INFO: rcu_preempt self-detected stall on CPU", Environment),
            ("[ 1221.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kworker/0:1:17]", Environment),
            (
                "[   61.0] clocksource: timekeeping watchdog on CPU0: hpet wd-wd read-back delay of 65us",
                Environment,
            ),
            (
                "[   61.0] clocksource: Marking clocksource 'tsc' as unstable because the skew is too large:",
                Environment,
            ),
            ("[   61.0] hrtimer: interrupt took 10236241 ns", Environment),
        ] {
            assert_eq!(kind_of(line), Some(kind), "{line}");
        }
    }

    #[test]
    fn a_healthy_boot_and_a_boot_after_a_power_cut_are_no_trouble() {
        for line in [
            "[    0.0] tsc: Unable to calibrate against PIT",
            "[    0.4] APIC calibration not consistent with PM-Timer: 114ms instead of 100ms",
            "[    0.9] clocksource: Switched to clocksource tsc-early",
            "[    1.1] rcu: Preemptible hierarchical RCU implementation.",
            "[    1.2] rcu: \tRCU event tracing is enabled.",
            "[    1.2] rcu: RCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=1.",
            "[    1.8] kvm_intel: VMX not supported by CPU 0",
            "[   44.7] powernow_k8: Power state transitions not supported",
            "[    2.2] EXT4-fs (vda2): mounted filesystem with ordered data mode. Quota mode: none.",
            "[    2.1] EXT4-fs (vda2): recovery complete",
            "[    2.1] EXT4-fs (vda2): orphan cleanup on readonly fs",
            "[    2.1] EXT4-fs (vda2): 3 orphan inodes deleted",
            "[    2.1] JBD2: recovery, exit status 0, recovered transactions 8 to 21",
            "[    0.0] Kernel command line: root=PARTUUID=1 console=ttyS0 panic=5",
            "[  OK  ] Started systemd-oomd.service - Userspace Out-Of-Memory (OOM) Killer.",
            "[  OK  ] Reached target emergency.target - Emergency Mode.",
            "FATAL:  the database system is starting up",
            "error: kex_exchange_identification: Connection closed by remote host",
            "--- boot 2 of etcd-1, 2026-11-22T10:15:00.000Z ---",
            "etcd.service: Main process exited, code=killed, status=9/KILL",
            "",
        ] {
            assert_eq!(kind_of(line), None, "{line}");
        }
    }
}
