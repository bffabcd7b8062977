//! Control groups beyond what libcontainer does: who is in one, killing all of it, its OOM kills, and its removal.
//!
//! # Invariants
//! - Paths are relative to the root of each hierarchy (`/everynode-ID/NODE/podUID/NAME-ATTEMPT`) and the same in all.
//! - Works on v1 (one directory in every mounted hierarchy) and on v2 (one directory).
//! - What does not exist is empty, killed and removed.
//!
//! # Absent
//! Limits of containers: libcontainer writes them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::PodResources;

/// Passes of kill: each kills all that it sees in a frozen group, so a second one only finds late forks.
const KILL_PASSES_MAX: usize = 10;
/// Another process may remove the empty group between its making and the entry.
const ENTER_TRIES_MAX: usize = 5;
/// Deepest group below a container's own that is cleaned up.
const DEPTH_MAX: usize = 32;
/// Where a machine whose limits are of v1 has v2 beside them, without controllers. runc puts its containers there too.
const HYBRID: &str = "unified";

/// Fewest and most shares that the kernel takes.
const SHARES_MIN: u64 = 2;
const SHARES_MAX: u64 = 262_144;

/// How the machine has mounted its control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// Mount points of all v1 hierarchies.
    V1(Vec<PathBuf>),
    /// Mount point of the one v2 hierarchy.
    V2(PathBuf),
}

/// Reads how control groups are mounted here.
///
/// # Errors
/// When there are none.
pub(crate) fn hierarchies() -> io::Result<Hierarchies> {
    parse(&fs::read_to_string("/proc/self/mountinfo")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no control groups are mounted at /sys/fs/cgroup"))
}

fn parse(mountinfo: &str) -> Option<Hierarchies> {
    let mut v1 = Vec::new();
    for line in mountinfo.lines() {
        let (fields, kind) = line.split_once(" - ")?;
        let Some(point) = fields.split(' ').nth(4) else { continue };
        match kind.split(' ').next() {
            Some("cgroup2") if point == "/sys/fs/cgroup" => return Some(Hierarchies::V2(point.into())),
            Some("cgroup") if point.starts_with("/sys/fs/cgroup/") => v1.push(PathBuf::from(point)),
            _ => {}
        }
    }
    (!v1.is_empty()).then_some(Hierarchies::V1(v1))
}

impl Hierarchies {
    /// The directories of one group.
    pub(crate) fn directories(&self, group: &Path) -> Vec<PathBuf> {
        let group = group.strip_prefix("/").unwrap_or(group);
        match self {
            Self::V1(points) => points.iter().map(|point| point.join(group)).collect(),
            Self::V2(point) => vec![point.join(group)],
        }
    }

    /// Makes the directories of one group. With v2, parents get all controllers.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn create(&self, group: &Path) -> io::Result<()> {
        for dir in self.directories(group) {
            fs::create_dir_all(&dir)?;
        }
        Ok(())
    }

    /// Limits the group, all below it included.
    ///
    /// # Errors
    /// What the kernel says, or that it has no such limit.
    pub(crate) fn limit(&self, group: &Path, pids: Option<u64>, whole: Option<&PodResources>) -> io::Result<()> {
        self.create(group)?;
        if let Self::V2(point) = self {
            // A group has the limit once its parent hands the controller down, and so on from the root.
            let mut dir = point.clone();
            for step in group.strip_prefix("/").unwrap_or(group) {
                for controller in ["+pids", "+cpu", "+memory"] {
                    let _ = fs::write(dir.join("cgroup.subtree_control"), controller);
                }
                dir.push(step);
            }
        }
        let mut values: Vec<(&str, String)> = pids.map(|most| ("pids.max", most.to_string())).into_iter().collect();
        if let Some(whole) = whole {
            values.extend(self.values(whole));
        }
        values.into_iter().try_for_each(|(file, value)| self.write(group, file, &value))
    }

    /// The files of pod resources, and what goes into them.
    fn values(&self, whole: &PodResources) -> Vec<(&'static str, String)> {
        let quota = whole.cpu_quota.filter(|quota| *quota > 0);
        match self {
            Self::V1(_) => [
                Some(("cpu.shares", whole.cpu_shares.max(SHARES_MIN).to_string())),
                quota.map(|_| ("cpu.cfs_period_us", whole.cpu_period.to_string())),
                quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())),
                whole.memory_limit.map(|bytes| ("memory.limit_in_bytes", bytes.to_string())),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Self::V2(_) => [
                Some(("cpu.weight", weight(whole.cpu_shares).to_string())),
                quota.map(|quota| ("cpu.max", format!("{quota} {}", whole.cpu_period))),
                whole.memory_limit.map(|bytes| ("memory.max", bytes.to_string())),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }

    fn write(&self, group: &Path, file: &str, value: &str) -> io::Result<()> {
        let files = self.directories(group).into_iter().map(|dir| dir.join(file)).filter(|file| file.exists());
        let missing = format!("the kernel has no {file} for control groups");
        let mut written = Err(io::Error::new(io::ErrorKind::Unsupported, missing));
        for file in files {
            written = fs::write(file, value);
        }
        written
    }

    /// Moves the calling process into the group, as far as the kernel lets it.
    ///
    /// # Errors
    /// When it can't be moved in any hierarchy.
    pub(crate) fn enter(&self, group: &Path) -> io::Result<()> {
        let mut entered = self.try_enter(group);
        for _ in 1..ENTER_TRIES_MAX {
            if entered.is_ok() {
                break;
            }
            entered = self.try_enter(group);
        }
        entered
    }

    fn try_enter(&self, group: &Path) -> io::Result<()> {
        self.create(group)?;
        let mut moved = Err(io::Error::new(io::ErrorKind::NotFound, "no control group to enter"));
        for dir in self.directories(group) {
            if dir.join("cpuset.cpus").exists() && matches!(self, Self::V1(_)) {
                inherit_cpuset(&dir);
            }
            match fs::write(dir.join("cgroup.procs"), "0") {
                Ok(()) => moved = Ok(()),
                Err(error) if moved.is_err() => moved = Err(error),
                Err(_) => {}
            }
        }
        moved
    }

    /// Processes in the group and below.
    pub(crate) fn processes(&self, group: &Path) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for dir in self.directories(group) {
            visit(&dir, 0, &mut |dir| {
                let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            });
        }
        pids.remove(&0);
        pids
    }

    /// Sends SIGKILL to all in the group and below, also to those being forked meanwhile.
    pub(crate) fn kill(&self, group: &Path) {
        if let Self::V2(point) = self
            && fs::write(point.join(group.strip_prefix("/").unwrap_or(group)).join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for _ in 0..KILL_PASSES_MAX {
            if self.processes(group).is_empty() {
                return;
            }
            self.freeze(group, "FROZEN");
            for pid in self.processes(group) {
                // SAFETY: kill takes no memory; the process is in our group, so its number is not another's.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            self.freeze(group, "THAWED");
        }
    }

    fn freeze(&self, group: &Path, state: &str) {
        for dir in self.directories(group) {
            // Only the freezer hierarchy has this file; without it the passes are repeated.
            let file = dir.join("freezer.state");
            if file.exists() {
                let _ = fs::write(file, state);
            }
        }
    }

    /// How many of the group's processes the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self, group: &Path) -> u64 {
        self.directories(group)
            .iter()
            .flat_map(|dir| [dir.join("memory.events"), dir.join("memory.oom_control")])
            .filter_map(|file| fs::read_to_string(file).ok())
            .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok()))
            .sum()
    }

    /// The directories of one group, also where nothing is limited.
    fn all_directories(&self, group: &Path) -> Vec<PathBuf> {
        let mut all = self.directories(group);
        if let Self::V1(points) = self {
            let beside = points.first().and_then(|point| point.parent()).map(|parent| parent.join(HYBRID));
            all.extend(beside.map(|point| point.join(group.strip_prefix("/").unwrap_or(group))));
        }
        all
    }

    /// Removes the group and those below. True: nothing is left. False: processes are still ending; try again.
    pub(crate) fn remove(&self, group: &Path) -> bool {
        let mut gone = true;
        for dir in self.all_directories(group) {
            gone &= remove_tree(&dir, 0);
        }
        gone
    }

    /// Removes the group if nothing is in it, neither process nor group. True: it is gone.
    pub(crate) fn remove_if_empty(&self, group: &Path) -> bool {
        let gone = |dir: &PathBuf| match fs::remove_dir(dir) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let left = self.all_directories(group).into_iter().filter(|dir| !gone(dir)).count();
        left == 0
    }
}

/// Shares of version 1 as the weight of version 2, as Kubernetes reckons it.
fn weight(shares: u64) -> u64 {
    1 + shares.clamp(SHARES_MIN, SHARES_MAX).saturating_sub(SHARES_MIN) * 9999 / (SHARES_MAX - SHARES_MIN)
}

fn visit(dir: &Path, depth: usize, see: &mut dyn FnMut(&Path)) {
    if depth > DEPTH_MAX {
        return;
    }
    see(dir);
    for child in children(dir) {
        visit(&child, depth + 1, see);
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter_map(Result::ok).filter(is_dir).map(|entry| entry.path()).collect()
}

fn remove_tree(dir: &Path, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    for child in children(dir) {
        remove_tree(&child, depth + 1);
    }
    match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// A new v1 cpuset group takes no process until it has processors and memory nodes: its parent's.
fn inherit_cpuset(dir: &Path) {
    let Some(parent) = dir.parent() else { return };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = fs::read_to_string(dir.join(file)).unwrap_or_default();
        if !own.trim().is_empty() {
            continue;
        }
        let mut above = fs::read_to_string(parent.join(file)).unwrap_or_default();
        if above.trim().is_empty() && parent.join(file).exists() {
            inherit_cpuset(parent);
            above = fs::read_to_string(parent.join(file)).unwrap_or_default();
        }
        let _ = fs::write(dir.join(file), above.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchies_are_seen() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse(v2), Some(Hierarchies::V2("/sys/fs/cgroup".into())));
        let v1 = "1 2 0:1 / /sys/fs/cgroup rw - tmpfs cgroup rw\n\
                  3 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  4 1 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse(v1), Some(Hierarchies::V1(vec!["/sys/fs/cgroup/memory".into()])));
        assert_eq!(parse("1 2 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn what_is_not_there_is_empty_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let groups = Hierarchies::V2(dir.path().to_owned());
        let group = Path::new("/a/b");
        assert!(groups.processes(group).is_empty());
        assert_eq!(groups.oom_kills(group), 0);
        groups.kill(group);
        assert!(groups.remove(group));
    }

    #[test]
    fn nothing_is_left_beside_the_limits() {
        for of in [Hierarchies::remove, Hierarchies::remove_if_empty] {
            let dir = tempfile::tempdir().unwrap();
            let groups = Hierarchies::V1(vec![dir.path().join("memory"), dir.path().join("pids")]);
            for hierarchy in ["memory", "pids", HYBRID] {
                fs::create_dir_all(dir.path().join(hierarchy).join("a/b")).unwrap();
            }
            assert!(of(&groups, Path::new("/a/b")));
            for hierarchy in ["memory", "pids", HYBRID] {
                assert!(fs::read_dir(dir.path().join(hierarchy).join("a")).unwrap().next().is_none(), "{hierarchy}");
            }
        }
    }

    #[test]
    fn a_group_is_limited_by_the_files_of_its_version() {
        let whole = PodResources {
            cpu_shares: 1024,
            cpu_quota: Some(50_000),
            cpu_period: 100_000,
            memory_limit: Some(1 << 20),
        };
        for (v2, files) in [
            (
                false,
                &[
                    ("pids.max", "7"),
                    ("cpu.shares", "1024"),
                    ("cpu.cfs_period_us", "100000"),
                    ("cpu.cfs_quota_us", "50000"),
                    ("memory.limit_in_bytes", "1048576"),
                ][..],
            ),
            (true, &[("pids.max", "7"), ("cpu.weight", "39"), ("cpu.max", "50000 100000"), ("memory.max", "1048576")]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let own = dir.path().to_owned();
            let groups = if v2 { Hierarchies::V2(own) } else { Hierarchies::V1(vec![own]) };
            fs::create_dir(dir.path().join("g")).unwrap();
            assert!(groups.limit(Path::new("/g"), Some(7), None).is_err(), "the kernel has no such file");
            for (file, _) in files {
                fs::write(dir.path().join("g").join(file), "").unwrap();
            }
            groups.limit(Path::new("/g"), Some(7), Some(&whole)).unwrap();
            for (file, value) in files {
                assert_eq!(fs::read_to_string(dir.path().join("g").join(file)).unwrap(), *value, "{file}");
            }
        }
    }

    #[test]
    fn oom_kills_of_both_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let groups = Hierarchies::V2(dir.path().to_owned());
        fs::write(dir.path().join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(groups.oom_kills(Path::new("/")), 2);
        fs::remove_file(dir.path().join("memory.events")).unwrap();
        fs::write(dir.path().join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
        assert_eq!(groups.oom_kills(Path::new("/")), 1);
    }
}
