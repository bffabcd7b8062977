//! A tar from a container as files of this machine.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

/// Writes what lies at or below `prefix` in the tar to `target`. Links are passed over, as kubectl does: they could lead
/// what comes after them anywhere.
///
/// # Errors
/// With the path that can't be written, for a tar that is broken, and for a name that leads out.
pub(super) fn unpack(from: impl Read, prefix: &str, target: &Path) -> io::Result<()> {
    let prefix = prefix.trim_start_matches('/');
    let prefix = prefix.strip_prefix("./").unwrap_or(prefix).trim_end_matches('/');
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = place(&name, prefix, target)
            .ok_or_else(|| io::Error::other(format!("tar contents corrupted: {name:?} is not below {prefix:?}")))?;
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&path).map_err(failed)?,
            EntryType::Regular | EntryType::Continuous => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(failed)?;
                }
                let mut file = fs::File::create(&path).map_err(failed)?;
                io::copy(&mut entry, &mut file).map_err(failed)?;
                if let Ok(mode) = entry.header().mode() {
                    use std::os::unix::fs::PermissionsExt as _;
                    // Never set-uid: who copies a file does not ask for that.
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777)).map_err(failed)?;
                }
            }
            EntryType::Symlink | EntryType::Link => {
                eprintln!("warning: skipping link: {name:?} (consider \"exec -- tar\" for links)");
            }
            _ => eprintln!("warning: skipping {name:?}: neither file nor directory"),
        }
    }
    Ok(())
}

/// Where an entry goes; None for one that is not below the prefix.
fn place(name: &str, prefix: &str, target: &Path) -> Option<PathBuf> {
    let name = name.trim_start_matches('/');
    let name = name.strip_prefix("./").unwrap_or(name);
    let rest = match name.strip_prefix(prefix) {
        Some(rest) if prefix.is_empty() || rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
        _ => return None,
    };
    let inside = Path::new(rest).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    inside.then(|| if rest.is_empty() { target.to_owned() } else { target.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::cp::pack::pack;

    #[test]
    fn a_tree_comes_back_without_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("a"), "one").unwrap();
        fs::write(from.join("sub/b"), vec![7; 100_000]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        let mut tar = Vec::new();
        pack(&from, "data", &mut tar).unwrap();
        let to = dir.path().join("to");
        unpack(&tar[..], "/data", &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "one");
        assert_eq!(fs::read(to.join("sub/b")).unwrap().len(), 100_000);
        assert!(fs::symlink_metadata(to.join("link")).is_err());
        let only = dir.path().join("only");
        let mut tar = Vec::new();
        pack(&from.join("a"), "x", &mut tar).unwrap();
        unpack(&tar[..], "x", &only).unwrap();
        assert_eq!(fs::read_to_string(only).unwrap(), "one");
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let target = Path::new("/t");
        for (name, prefix, want) in [
            ("tmp/x", "tmp/x", Some("/t")),
            ("/tmp/x/a", "tmp/x", Some("/t/a")),
            ("./tmp/x/a", "tmp/x", Some("/t/a")),
            ("a/b", "", Some("/t/a/b")),
            ("tmp/xy", "tmp/x", None),
            ("tmp/x/../../etc", "tmp/x", None),
            ("etc/passwd", "tmp/x", None),
        ] {
            assert_eq!(place(name, prefix, target), want.map(PathBuf::from), "{name} {prefix}");
        }
    }
}
