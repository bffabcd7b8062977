//! What of this machine goes into OCI configurations.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::capabilities::bounding_set;
use super::spec::{DeviceNode, Machine};
use crate::shim::cgroup::{Hierarchies, hierarchies};

/// Device nodes a privileged container gets at most.
const DEVICES_MAX: usize = 4096;
/// Deepest directory below /dev.
const DEPTH_MAX: usize = 8;
/// What a container has of its own, or what is no device of the machine.
const NOT_DEVICES: [&str; 7] = ["pts", "shm", "fd", "mqueue", "console", ".udev", "ptmx"];

/// Reads the machine; the devices only when a container asks for them, they change.
pub(crate) fn read(with_devices: bool) -> std::io::Result<Machine> {
    let groups = hierarchies()?;
    let swap_limits = match &groups {
        Hierarchies::V1(points) => points.iter().any(|point| point.join("memory.memsw.limit_in_bytes").exists()),
        Hierarchies::V2(_) => true,
    };
    let mut devices = Vec::new();
    if with_devices {
        collect(Path::new("/dev"), 0, &mut devices);
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    Ok(Machine { groups, bounding: bounding_set(), devices, swap_limits, hostname, kernel })
}

fn collect(dir: &Path, depth: usize, devices: &mut Vec<DeviceNode>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if depth == 0 && NOT_DEVICES.iter().any(|skip| name == *skip) || devices.len() >= DEVICES_MAX {
            continue;
        }
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let kind = meta.file_type();
        if kind.is_dir() && depth < DEPTH_MAX {
            collect(&path, depth + 1, devices);
        } else if kind.is_char_device() || kind.is_block_device() {
            devices.push(DeviceNode {
                path,
                kind: if kind.is_char_device() { "c" } else { "b" },
                major: u64::from(libc::major(meta.rdev())),
                minor: u64::from(libc::minor(meta.rdev())),
                mode: meta.mode() & 0o777,
                uid: meta.uid(),
                gid: meta.gid(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_null_device_and_no_terminal_of_its_own() {
        let machine = read(true).unwrap();
        let null = machine.devices.iter().find(|device| device.path == Path::new("/dev/null")).unwrap();
        assert_eq!((null.kind, null.major, null.minor), ("c", 1, 3));
        assert!(machine.devices.iter().all(|device| !device.path.starts_with("/dev/pts")));
    }
}
