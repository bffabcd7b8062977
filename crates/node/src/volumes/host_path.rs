//! hostPath: the node's own files and directories.

use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::Cause;

/// Checks what the type demands, and makes what it allows to be made.
pub(super) async fn ensure(source: &HostPathVolumeSource) -> Result<PathBuf, Cause> {
    let path = PathBuf::from(&source.path);
    let type_ = source.type_.clone().unwrap_or_default();
    let at = path.clone();
    let done = tokio::task::spawn_blocking(move || check(&at, &type_)).await;
    done.unwrap_or_else(|e| Err(Cause::Io { path: path.clone(), cause: std::io::Error::other(e) })).map(|()| path)
}

fn check(path: &Path, type_: &str) -> Result<(), Cause> {
    let kind = std::fs::metadata(path).map(|m| m.file_type());
    let missing = matches!(&kind, Err(e) if e.kind() == std::io::ErrorKind::NotFound);
    let is = |test: fn(&std::fs::FileType) -> bool| kind.as_ref().is_ok_and(test);
    let (fits, expected) = match type_ {
        // Container runtimes make a directory where nothing is.
        "" | "DirectoryOrCreate" if missing => {
            return std::fs::create_dir_all(path).map_err(Cause::io(path));
        }
        "FileOrCreate" if missing => {
            let made = std::fs::OpenOptions::new().create(true).append(true).mode(0o644).open(path);
            return made.map(drop).map_err(Cause::io(path));
        }
        "" => (kind.is_ok(), "there"),
        "Directory" | "DirectoryOrCreate" => (is(std::fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(std::fs::FileType::is_file), "a file"),
        "Socket" => (is(|k| k.is_socket()), "a socket file"),
        "CharDevice" => (is(|k| k.is_char_device()), "a character device"),
        "BlockDevice" => (is(|k| k.is_block_device()), "a block device"),
        _ => (false, "of a known hostPath type"),
    };
    if fits { Ok(()) } else { Err(Cause::HostPath { path: path.display().to_string(), expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, type_, works) in [
            ("none1", "", true),
            ("none2", "DirectoryOrCreate", true),
            ("none3", "FileOrCreate", true),
            ("none4", "Directory", false),
            ("none5", "File", false),
            ("file", "File", true),
            ("file", "Directory", false),
            ("file", "DirectoryOrCreate", false),
            ("dir", "Directory", true),
            ("dir", "FileOrCreate", false),
            ("socket", "Socket", true),
            ("file", "Socket", false),
            ("file", "", true),
        ] {
            assert_eq!(check(&at(name), type_).is_ok(), works, "{name} {type_}");
        }
        assert!(at("none1").is_dir() && at("none2").is_dir() && at("none3").is_file() && !at("none4").exists());
    }
}
