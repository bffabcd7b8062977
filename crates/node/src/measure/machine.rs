//! What the whole machine uses, out of /proc.

use std::fs;

use crate::runtime::embedded::usage;
use crate::runtime::stats::LinkUsage;

/// One look at the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MachineUsage {
    pub(crate) cpu_nanos: u64,
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_used_bytes: u64,
    pub(crate) working_set_bytes: u64,
    pub(crate) available_bytes: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) swap_bytes: u64,
    pub(crate) swap_used_bytes: u64,
    pub(crate) page_faults: u64,
    pub(crate) major_page_faults: u64,
    pub(crate) pids: u64,
    pub(crate) pids_max: u64,
    pub(crate) booted_at: i64,
    pub(crate) links: Vec<LinkUsage>,
}

/// Reads it. A file that is missing counts as empty.
pub(super) fn read() -> MachineUsage {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut machine = MachineUsage {
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
        pids_max: text("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0),
        links: usage::links(&text("/proc/self/net/dev")),
        ..MachineUsage::default()
    };
    stat(&text("/proc/stat"), &mut machine);
    meminfo(&text("/proc/meminfo"), &mut machine);
    vmstat(&text("/proc/vmstat"), &mut machine);
    // "0.1 0.2 0.3 RUNNING/ALL LAST".
    let tasks = text("/proc/loadavg");
    let all = tasks.split(' ').nth(3).and_then(|tasks| tasks.split_once('/')).and_then(|(_, all)| all.parse().ok());
    machine.pids = all.unwrap_or(0);
    machine
}

/// Time of all processors but idle and waiting, and when the machine started.
fn stat(text: &str, machine: &mut MachineUsage) {
    // SAFETY: asks for a constant of the system.
    let ticks = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1);
    for line in text.lines() {
        if let Some(numbers) = line.strip_prefix("cpu ") {
            let numbers: Vec<u64> = numbers.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
            // user nice system idle iowait irq softirq steal; guests are part of user.
            let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| numbers.get(*at)).sum();
            machine.cpu_nanos = busy.saturating_mul(1_000_000_000 / ticks);
        } else if let Some(at) = line.strip_prefix("btime ") {
            machine.booted_at = at.trim().parse().unwrap_or(0);
        }
    }
}

fn meminfo(text: &str, machine: &mut MachineUsage) {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    };
    machine.memory_bytes = bytes("MemTotal");
    machine.memory_used_bytes = machine.memory_bytes.saturating_sub(bytes("MemFree"));
    machine.working_set_bytes = machine.memory_used_bytes.saturating_sub(bytes("Inactive(file)"));
    machine.available_bytes = bytes("MemAvailable");
    machine.rss_bytes = bytes("AnonPages");
    machine.swap_bytes = bytes("SwapTotal");
    machine.swap_used_bytes = machine.swap_bytes.saturating_sub(bytes("SwapFree"));
}

fn vmstat(text: &str, machine: &mut MachineUsage) {
    let number = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok()).unwrap_or(0);
    machine.page_faults = number("pgfault ");
    machine.major_page_faults = number("pgmajfault ");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read() {
        let mut machine = MachineUsage::default();
        stat("cpu  100 0 50 9999 7 0 0 10 0 0\ncpu0 1 1 1\nbtime 1700000000\n", &mut machine);
        meminfo("MemTotal: 1000 kB\nMemFree: 200 kB\nMemAvailable: 500 kB\nInactive(file): 100 kB\n", &mut machine);
        vmstat("pgfault 12\npgmajfault 3\n", &mut machine);
        assert_eq!((machine.cpu_nanos, machine.booted_at), (1_600_000_000, 1_700_000_000));
        let memory = [machine.memory_used_bytes, machine.working_set_bytes, machine.available_bytes];
        assert_eq!(memory, [800 * 1024, 700 * 1024, 500 * 1024]);
        assert_eq!((machine.page_faults, machine.major_page_faults), (12, 3));
    }

    #[test]
    fn this_machine_works() {
        let machine = read();
        assert!(machine.cpu_nanos > 0 && machine.working_set_bytes > 0 && machine.pids > 0, "{machine:?}");
    }
}
