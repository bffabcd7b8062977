//! What a control group uses, out of the kernel's files of both versions.
//!
//! # Invariants
//! A file that is missing counts as zero: kernels are built without some controllers.

use std::fs;
use std::path::Path;

use crate::runtime::stats::{LinkUsage, Usage};
use crate::shim::cgroup::Hierarchies;

/// From here on a limit of memory is none: version 1 writes the largest number of pages.
const NO_LIMIT: u64 = 1 << 60;

/// Reads the group's files.
pub(crate) fn read(groups: &Hierarchies, group: &Path) -> Usage {
    let mut usage = Usage::default();
    for dir in groups.directories(group) {
        read_dir(&dir, &mut usage);
    }
    usage.oom_kills = groups.oom_kills(group);
    usage.processes = groups.processes(group).len() as u64;
    usage.working_set_bytes = usage.memory_bytes.saturating_sub(usage.working_set_bytes);
    usage
}

/// Adds what one directory tells. Until the end `working_set_bytes` holds the page cache that could go.
fn read_dir(dir: &Path, usage: &mut Usage) {
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let number = |file: &str| text(file).trim().parse::<u64>().ok();
    let take = |file: &str, field: &mut u64| {
        if let Some(value) = number(file) {
            *field = value;
        }
    };
    take("cpuacct.usage", &mut usage.cpu_nanos);
    take("cpuacct.usage_user", &mut usage.cpu_user_nanos);
    take("cpuacct.usage_sys", &mut usage.cpu_system_nanos);
    take("memory.usage_in_bytes", &mut usage.memory_bytes);
    take("memory.current", &mut usage.memory_bytes);
    take("memory.max_usage_in_bytes", &mut usage.memory_max_bytes);
    take("memory.peak", &mut usage.memory_max_bytes);
    take("memory.limit_in_bytes", &mut usage.memory_limit_bytes);
    take("memory.max", &mut usage.memory_limit_bytes);
    take("memory.swap.current", &mut usage.swap_bytes);
    take("pids.current", &mut usage.threads);
    if usage.memory_limit_bytes >= NO_LIMIT {
        usage.memory_limit_bytes = 0;
    }
    cpu_stat(&text("cpu.stat"), usage);
    memory_stat(&text("memory.stat"), usage);
    io_stat(&text("io.stat"), usage);
    let throttle = |what: &str| text(&format!("blkio.throttle.{what}_recursive"));
    blkio(&throttle("io_service_bytes"), &mut usage.read_bytes, &mut usage.written_bytes);
    blkio(&throttle("io_serviced"), &mut usage.reads, &mut usage.writes);
}

/// `key value` lines.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

fn cpu_stat(text: &str, usage: &mut Usage) {
    for (key, value) in pairs(text) {
        match key {
            "usage_usec" => usage.cpu_nanos = value.saturating_mul(1000),
            "user_usec" => usage.cpu_user_nanos = value.saturating_mul(1000),
            "system_usec" => usage.cpu_system_nanos = value.saturating_mul(1000),
            "nr_periods" => usage.cpu_periods = value,
            "nr_throttled" => usage.cpu_throttled_periods = value,
            "throttled_usec" => usage.cpu_throttled_nanos = value.saturating_mul(1000),
            "throttled_time" => usage.cpu_throttled_nanos = value,
            _ => {}
        }
    }
}

fn memory_stat(text: &str, usage: &mut Usage) {
    // Version 1 has the group's own numbers and, as total_…, those with the groups below.
    let recursive = text.contains("\ntotal_");
    for (key, value) in pairs(text) {
        let key = match key.strip_prefix("total_") {
            Some(key) => key,
            None if recursive => continue,
            None => key,
        };
        match key {
            "rss" | "anon" => usage.rss_bytes = value,
            "cache" | "file" => usage.cache_bytes = value,
            "mapped_file" | "file_mapped" => usage.mapped_bytes = value,
            "swap" => usage.swap_bytes = value,
            "pgfault" => usage.page_faults = value,
            "pgmajfault" => usage.major_page_faults = value,
            "inactive_file" => usage.working_set_bytes = value,
            _ => {}
        }
    }
}

/// `MAJOR:MINOR rbytes=1 wbytes=2 rios=3 wios=4 …` lines of version 2.
fn io_stat(text: &str, usage: &mut Usage) {
    for word in text.split_ascii_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        let Ok(value) = value.parse::<u64>() else { continue };
        match key {
            "rbytes" => usage.read_bytes = usage.read_bytes.saturating_add(value),
            "wbytes" => usage.written_bytes = usage.written_bytes.saturating_add(value),
            "rios" => usage.reads = usage.reads.saturating_add(value),
            "wios" => usage.writes = usage.writes.saturating_add(value),
            _ => {}
        }
    }
}

/// `MAJOR:MINOR Read 1` lines of version 1.
fn blkio(text: &str, read: &mut u64, written: &mut u64) {
    for line in text.lines() {
        let mut words = line.split(' ').skip(1);
        let (kind, value) = (words.next(), words.next().and_then(|value| value.parse::<u64>().ok()));
        match (kind, value) {
            (Some("Read"), Some(value)) => *read = read.saturating_add(value),
            (Some("Write"), Some(value)) => *written = written.saturating_add(value),
            _ => {}
        }
    }
}

/// The links of a process's network namespace, without loopback.
pub(crate) fn links(net_dev: &str) -> Vec<LinkUsage> {
    let link = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().map_while(|number| number.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied();
        (name.trim() != "lo").then_some(())?;
        Some(LinkUsage {
            name: name.trim().to_owned(),
            rx_bytes: at(0)?,
            rx_packets: at(1)?,
            rx_errors: at(2)?,
            rx_dropped: at(3)?,
            tx_bytes: at(8)?,
            tx_packets: at(9)?,
            tx_errors: at(10)?,
            tx_dropped: at(11)?,
        })
    };
    // The first two lines are headings.
    net_dev.lines().skip(2).filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_tell_the_same() {
        let v1 = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("cpuacct.usage", "5000000\n"),
            ("cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 3000\n"),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.stat",
                "rss 1\ninactive_file 1\ntotal_rss 600\ntotal_cache 300\ntotal_inactive_file 200\ntotal_pgfault 9\n",
            ),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 1\nTotal 31\n",
            ),
        ] {
            std::fs::write(v1.path().join(file), text).unwrap();
        }
        let v2 = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("cpu.stat", "usage_usec 5000\nuser_usec 0\nnr_periods 7\nnr_throttled 2\nthrottled_usec 3\n"),
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 600\nfile 300\ninactive_file 200\npgfault 9\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=0 wios=0\n8:16 rbytes=1 wbytes=0\n"),
        ] {
            std::fs::write(v2.path().join(file), text).unwrap();
        }
        let want = Usage {
            cpu_nanos: 5_000_000,
            cpu_periods: 7,
            cpu_throttled_periods: 2,
            cpu_throttled_nanos: 3000,
            memory_bytes: 1000,
            working_set_bytes: 800,
            rss_bytes: 600,
            cache_bytes: 300,
            page_faults: 9,
            read_bytes: 11,
            written_bytes: 20,
            ..Usage::default()
        };
        let root = Path::new("/");
        assert_eq!(read(&Hierarchies::V1(vec![v1.path().to_owned()]), root), want);
        assert_eq!(read(&Hierarchies::V2(v2.path().to_owned()), root), want);
        assert_eq!(read(&Hierarchies::V2(v2.path().join("gone")), root), Usage::default());
    }

    #[test]
    fn links_without_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                    eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n broken: 1\n";
        let [link] = &links(text)[..] else { panic!("{text}") };
        let numbers = [link.rx_bytes, link.rx_errors, link.rx_dropped, link.tx_bytes, link.tx_packets, link.tx_dropped];
        assert_eq!((link.name.as_str(), numbers), ("eth0", [10, 3, 4, 50, 6, 8]));
    }
}
