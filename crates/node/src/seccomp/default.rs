//! The profile of those that ask for the runtime's default: what Docker and containerd withhold from containers.
//!
//! Every call that the kernel had when this was written is allowed but for those below. They administer the machine, or have
//! been a way out of containers, or are so old that nobody needs them; those with a capability are there for who has it.
//!
//! # Invariants
//! A call that a later kernel brings is answered as by a kernel that has it not (ENOSYS), until somebody has judged it here.

use std::collections::BTreeMap;

use super::profile::{Condition, Profile, Rule};
use super::table::of_machine;

/// The newest call that was judged; from 424 on all architectures share their numbers.
const NEWEST: u32 = 466;
/// Calls of ARM's own, which are not counted with the others.
const ARM_OWN: u32 = 0xF_0000;

/// Without a capability that would bring them back.
const WITHHELD: &[&str] = &[
    // Keys of the kernel know no containers.
    "add_key",
    "keyctl",
    "request_key",
    // Ways around other filters, or into the memory of others.
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "migrate_pages",
    "move_pages",
    "userfaultfd",
    "uprobe",
    // The machine's kernel, roots and memory.
    "kexec_file_load",
    "kexec_load",
    "pivot_root",
    "swapoff",
    "swapon",
    "pciconfig_iobase",
    "pciconfig_read",
    "pciconfig_write",
    // Of the past.
    "_sysctl",
    "afs_syscall",
    "bdflush",
    "break",
    "create_module",
    "ftime",
    "get_kernel_syms",
    "getpmsg",
    "gtty",
    "idle",
    "lock",
    "mpx",
    "nfsservctl",
    "nice",
    "oldfstat",
    "oldlstat",
    "oldolduname",
    "oldstat",
    "olduname",
    "prof",
    "profil",
    "putpmsg",
    "query_module",
    "readdir",
    "security",
    "sgetmask",
    "sigaction",
    "signal",
    "sigpending",
    "sigsuspend",
    "ssetmask",
    "stty",
    "sysfs",
    "tuxcall",
    "ulimit",
    "uselib",
    "ustat",
    "vm86",
    "vm86old",
    "vserver",
];

/// Only with one of these capabilities.
const BY_CAPABILITY: &[(&[&str], &[&str])] = &[
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (
        &["CAP_SYS_ADMIN"],
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (&["CAP_SYS_ADMIN", "CAP_BPF"], &["bpf"]),
    (&["CAP_SYS_ADMIN", "CAP_PERFMON"], &["perf_event_open"]),
    (&["CAP_SYS_ADMIN", "CAP_SYSLOG"], &["syslog"]),
    (&["CAP_SYS_BOOT"], &["reboot"]),
    (&["CAP_SYS_CHROOT"], &["chroot"]),
    (&["CAP_SYS_MODULE"], &["delete_module", "finit_module", "init_module"]),
    (&["CAP_SYS_NICE"], &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (&["CAP_SYS_PACCT"], &["acct"]),
    (&["CAP_SYS_PTRACE"], &["kcmp", "pidfd_getfd", "process_madvise"]),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (&["CAP_SYS_TIME"], &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    (&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
];

/// Flags of clone that make namespaces.
const NAMESPACES: u64 = 0x7E02_0000;
/// Families of sockets below this one are allowed.
const AF_ALG: u64 = 38;
/// So are these: all that there are but AF_ALG, the kernel's ciphers, and AF_VSOCK, the way to the host of a machine.
const LATE_FAMILIES: [u64; 6] = [39, 41, 42, 43, 44, 45];
/// Kinds of personality that programs ask for: Linux, 32 bits, with older uname, and which one it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

/// The profile for a container with these capabilities.
pub(crate) fn runtime_default(capabilities: &[String]) -> Profile {
    let has = |of: &[&str]| of.iter().any(|name| capabilities.iter().any(|own| own == name));
    let mut judged: BTreeMap<&str, bool> = WITHHELD.iter().map(|name| (*name, false)).collect();
    for (of, names) in BY_CAPABILITY {
        judged.extend(names.iter().map(|name| (*name, has(of))));
    }
    let by_argument = ["socket", "personality", "clone", "clone3"];
    let mut names: Vec<String> = Vec::new();
    for architecture in of_machine() {
        for (number, name) in (architecture.all)() {
            let known = number <= NEWEST || number >= ARM_OWN;
            if known && !by_argument.contains(&name) && judged.get(name).copied().unwrap_or(true) {
                names.push(name.to_owned());
            }
        }
    }
    let mut syscalls = vec![Rule { names, ..allow() }];
    let late = LATE_FAMILIES.map(|family| when("socket", "SCMP_CMP_EQ", family, 0));
    syscalls.push(when("socket", "SCMP_CMP_LT", AF_ALG, 0));
    syscalls.extend(late);
    syscalls.extend(PERSONALITIES.map(|kind| when("personality", "SCMP_CMP_EQ", kind, 0)));
    if has(&["CAP_SYS_ADMIN"]) {
        syscalls.push(Rule { names: vec!["clone".to_owned(), "clone3".to_owned()], ..allow() });
    } else {
        syscalls.push(when("clone", "SCMP_CMP_MASKED_EQ", NAMESPACES, 0));
        // Its flags lie in memory, where a filter does not look: libraries then fall back to clone.
        let missing = Rule { names: vec!["clone3".to_owned()], action: "SCMP_ACT_ERRNO".to_owned(), ..allow() };
        syscalls.push(Rule { errno_ret: u32::try_from(libc::ENOSYS).ok(), ..missing });
    }
    Profile {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: u32::try_from(libc::EPERM).ok(),
        architectures: Some(of_machine().iter().map(|architecture| architecture.name.to_owned()).collect()),
        syscalls: Some(syscalls),
        ..Profile::default()
    }
}

fn allow() -> Rule {
    Rule { action: "SCMP_ACT_ALLOW".to_owned(), ..Rule::default() }
}

/// Allows a call whose first argument is so.
fn when(name: &str, op: &str, value: u64, value_two: u64) -> Rule {
    let condition = Condition { index: 0, value, value_two, op: op.to_owned() };
    Rule { names: vec![name.to_owned()], args: Some(vec![condition]), ..allow() }
}
