//! Linux capabilities of containers, by name.

use crate::runtime::SecurityConfig;

/// In the kernel's order: the index is the bit.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What every container has unless it drops it: the set all Kubernetes runtimes agree on.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The names with CAP_, in the kernel's order, of those the node itself may use (`bounding`, a bit mask).
///
/// # Errors
/// A text for people when a name is unknown.
pub(crate) fn resolve(security: &SecurityConfig, bounding: u64) -> Result<Vec<String>, String> {
    let add = bits(&security.add_capabilities)?;
    let drop = bits(&security.drop_capabilities)?;
    let mut set = if security.privileged {
        u64::MAX
    } else if add == u64::MAX {
        // "ALL" with some dropped.
        if drop == u64::MAX { 0 } else { add & !drop }
    } else {
        (bits(&DEFAULT)? & !drop) | add
    };
    set &= bounding;
    let has = |index: &usize| set & (1 << index) != 0;
    Ok((0..ALL.len()).filter(has).map(|index| format!("CAP_{}", ALL[index])).collect())
}

/// The bit of a capability.
pub(crate) fn number(name: &str) -> Option<u8> {
    let short = name.strip_prefix("CAP_")?;
    ALL.iter().position(|known| *known == short).and_then(|index| u8::try_from(index).ok())
}

fn bits<T: AsRef<str>>(names: &[T]) -> Result<u64, String> {
    let mut set = 0;
    for name in names {
        let upper = name.as_ref().to_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if short == "ALL" {
            return Ok(u64::MAX);
        }
        let index = ALL.iter().position(|known| *known == short);
        set |= 1 << index.ok_or_else(|| format!("unknown capability {:?}", name.as_ref()))?;
    }
    Ok(set)
}

/// What this process may give at most, from /proc/self/status; all when that can't be read.
pub(crate) fn bounding_set() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_bounding(&status).unwrap_or(u64::MAX)
}

fn parse_bounding(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(privileged: bool, add: &[&str], drop: &[&str], bounding: u64) -> Vec<String> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security = SecurityConfig {
            privileged,
            add_capabilities: own(add),
            drop_capabilities: own(drop),
            ..SecurityConfig::default()
        };
        resolve(&security, bounding).unwrap()
    }

    #[test]
    fn capabilities_are_added_to_and_dropped_from_the_default() {
        let default = check(false, &[], &[], u64::MAX);
        assert_eq!(default.len(), 14);
        assert!(default.contains(&"CAP_NET_BIND_SERVICE".to_owned()));
        assert_eq!(check(false, &["NET_ADMIN"], &["ALL"], u64::MAX), ["CAP_NET_ADMIN"]);
        assert_eq!(check(false, &["cap_sys_time"], &[], u64::MAX).len(), 15);
        assert_eq!(check(false, &[], &["KILL"], u64::MAX).len(), 13);
        assert_eq!(check(false, &["ALL"], &["KILL"], u64::MAX).len(), 40);
        assert_eq!(check(true, &[], &["ALL"], u64::MAX).len(), 41);
    }

    #[test]
    fn what_the_node_lacks_it_can_not_give() {
        assert_eq!(check(true, &[], &[], 1), ["CAP_CHOWN"]);
        assert_eq!(parse_bounding("Name:\tx\nCapBnd:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let security = SecurityConfig { add_capabilities: vec!["FLY".to_owned()], ..SecurityConfig::default() };
        assert!(resolve(&security, u64::MAX).unwrap_err().contains("FLY"));
    }
}
