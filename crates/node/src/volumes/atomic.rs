//! Files that change all at once while containers read them.
//!
//! The files are in a directory with a time in its name, `..data` is a link to it, and each name people see is a link
//! through `..data`. A change makes a new directory and renames one link, so a reader sees all of the old or all of the new:
//!
//! ```text
//! ..2026_11_24_22_30_00.5/{a,b/c}    ..data -> ..2026_11_24_22_30_00.5    a -> ..data/a    b -> ..data/b
//! ```

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path};

/// The link that is renamed.
const DATA: &str = "..data";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// Files by their path in the volume.
pub(super) type Files = BTreeMap<String, Content>;

/// True for a path that stays in the volume.
pub(super) fn stays_inside(path: &str) -> bool {
    let path = Path::new(path);
    path.components().all(|c| matches!(c, Component::Normal(_))) && path.components().next().is_some()
}

/// Brings the volume to exactly these files; nothing is touched when they are there already.
pub(super) fn write(dir: &Path, files: &Files, group: Option<u32>) -> std::io::Result<()> {
    let old = std::fs::read_link(dir.join(DATA)).ok();
    if old.as_ref().is_some_and(|old| same(&dir.join(old), files, group)) {
        return links(dir, files);
    }
    let now = jiff::Timestamp::now();
    let stamp = now.strftime("%Y_%m_%d_%H_%M_%S");
    let name = format!("..{stamp}.{}", now.subsec_nanosecond());
    let fresh = dir.join(&name);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, content) in files {
        let path = fresh.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &content.bytes)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&path, None, Some(group))?;
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode(content, group)))?;
    }
    let beside = dir.join("..data_tmp");
    drop(std::fs::remove_file(&beside));
    symlink(&name, &beside)?;
    std::fs::rename(&beside, dir.join(DATA))?;
    links(dir, files)?;
    remove_old(dir, &name)
}

/// The group may read what it owns.
fn mode(content: &Content, group: Option<u32>) -> u32 {
    if group.is_some() { content.mode | 0o040 } else { content.mode }
}

fn same(dir: &Path, files: &Files, group: Option<u32>) -> bool {
    let equal = |(path, content): (&String, &Content)| {
        let path = dir.join(path);
        let mode_of = std::fs::metadata(&path).map(|m| m.permissions().mode() & 0o7777);
        mode_of.is_ok_and(|m| m == mode(content, group)) && std::fs::read(&path).is_ok_and(|b| b == content.bytes)
    };
    files.iter().all(equal) && count(dir) == files.len()
}

fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| if e.file_type().is_ok_and(|t| t.is_dir()) { count(&e.path()) } else { 1 }).sum()
}

/// The names people see.
fn links(dir: &Path, files: &Files) -> std::io::Result<()> {
    let mut wanted: Vec<&str> = files.keys().filter_map(|p| p.split('/').next()).collect();
    wanted.dedup();
    for name in &wanted {
        match symlink(Path::new(DATA).join(name), dir.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    for entry in std::fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A directory is a place for another volume.
        let old = !name.starts_with("..") && !wanted.contains(&name.as_ref()) && !entry.file_type()?.is_dir();
        if old {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_old(dir: &Path, current: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("..") && name != current && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let content = |text: &str| Content { bytes: text.as_bytes().to_vec(), mode: 0o644 };
        list.iter().map(|(path, text)| ((*path).to_owned(), content(text))).collect()
    }

    fn read(dir: &Path, name: &str) -> Option<String> {
        std::fs::read_to_string(dir.join(name)).ok()
    }

    #[test]
    fn changes_at_once_and_only_when_needed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        write(dir, &files(&[("a", "1"), ("b/c", "2")]), None).unwrap();
        assert_eq!((read(dir, "a").as_deref(), read(dir, "b/c").as_deref()), (Some("1"), Some("2")));
        let first = std::fs::read_link(dir.join(DATA)).unwrap();
        write(dir, &files(&[("a", "1"), ("b/c", "2")]), None).unwrap();
        assert_eq!(std::fs::read_link(dir.join(DATA)).unwrap(), first);
        write(dir, &files(&[("a", "3"), ("d", "4")]), None).unwrap();
        assert_eq!((read(dir, "a").as_deref(), read(dir, "d").as_deref()), (Some("3"), Some("4")));
        assert!(!dir.join("b").exists() && !dir.join(first).exists());
        assert!(std::fs::symlink_metadata(dir.join("b")).is_err());
    }

    #[test]
    fn places_for_other_volumes_stay() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        write(dir, &files(&[("a", "1")]), None).unwrap();
        std::fs::create_dir(dir.join("nested")).unwrap();
        for text in ["1", "2"] {
            write(dir, &files(&[("a", text)]), None).unwrap();
            assert!(dir.join("nested").is_dir() && read(dir, "a").as_deref() == Some(text));
        }
    }

    #[test]
    fn paths_that_lead_out() {
        for (path, inside) in [("a", true), ("a/b", true), ("..", false), ("a/../b", false), ("/a", false), ("", false)]
        {
            assert_eq!(stays_inside(path), inside, "{path}");
        }
    }
}
