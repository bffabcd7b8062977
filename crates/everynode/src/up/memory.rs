//! Resident memory of the processes that `up` runs, as the kernel counts it.

use std::time::Duration;

/// When the processes are at rest after their start: an agent lets go of its start's memory after a second.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// Prints one line a process.
pub(crate) fn print(processes: &[(String, u32)]) {
    for (name, pid) in processes {
        match resident_kib(*pid) {
            Some(kib) => println!("{name}: {:.1} MiB resident (process {pid})", kib as f64 / 1024.0),
            None => println!("{name}: process {pid} is gone"),
        }
    }
}

fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_memory_and_no_process_has_none() {
        assert!(super::resident_kib(std::process::id()).unwrap() > 100);
        assert_eq!(super::resident_kib(u32::MAX), None);
    }
}
