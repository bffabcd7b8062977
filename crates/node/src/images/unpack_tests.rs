//! What layers become on the disk, and what they can't reach.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::EntryType;

use super::digest::digest_of;
use super::error::StoreError;
use super::testing::{TarBall, gzip, is_root};
use super::unpack::unpack_layer;

fn unpack(ball: TarBall) -> (tempfile::TempDir, Result<u64, StoreError>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let bytes = ball.bytes();
    let result = unpack_layer(&bytes[..], &digest_of(&bytes), &root);
    (dir, result)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 64];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn files_come_out_as_they_went_in() {
    if !is_root("files_come_out_as_they_went_in") {
        return;
    }
    let ball = TarBall::new()
        .dir("./")
        .dir("bin/")
        .pax(&[
            ("SCHILY.xattr.user.note", b"kept"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/"),
            ("mtime", b"1000000000.25"),
        ])
        .entry(EntryType::Regular, "bin/tool", 0o4755, "", b"tool")
        .hard_link("bin/same", "bin/tool")
        .symlink("bin/sh", "/bin/tool")
        .entry(EntryType::Char, "null", 0o666, "", b"")
        .entry(EntryType::Fifo, "pipe", 0o600, "", b"")
        .file("deep/er/file", "made without its directories")
        .entry(EntryType::Directory, "closed", 0o500, "", b"")
        .file("closed/inside", "x");
    let (dir, result) = unpack(ball);
    assert_eq!(result.unwrap(), 4 + 28 + 1);
    let at = |path: &str| dir.path().join("root").join(path);
    let tool = fs::metadata(at("bin/tool")).unwrap();
    assert_eq!(
        (tool.uid(), tool.gid(), tool.mode() & 0o7777, tool.mtime(), tool.mtime_nsec()),
        (7, 8, 0o4755, 1_000_000_000, 250_000_000)
    );
    assert_eq!(tool.ino(), fs::metadata(at("bin/same")).unwrap().ino());
    assert_eq!(xattr(&at("bin/tool"), "user.note").unwrap(), b"kept");
    assert_eq!(xattr(&at("bin/tool"), "trusted.overlay.redirect"), None);
    assert_eq!(fs::read_link(at("bin/sh")).unwrap(), Path::new("/bin/tool"));
    assert_eq!(fs::symlink_metadata(at("bin/sh")).unwrap().uid(), 7);
    let null = fs::metadata(at("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(at("deep")).unwrap().mode() & 0o7777, 0o755);
    let closed = fs::metadata(at("closed")).unwrap();
    assert_eq!((closed.mode() & 0o7777, closed.mtime()), (0o500, 1_000_000_000));
}

#[test]
fn the_last_entry_of_a_name_counts() {
    if !is_root("the_last_entry_of_a_name_counts") {
        return;
    }
    let ball = TarBall::new()
        .dir("a")
        .file("a/old", "old")
        .symlink("a", "b")
        .file("c", "file")
        .dir("c")
        .file("c/new", "new")
        .file("d", "1")
        .file("d", "22");
    let (dir, result) = unpack(ball);
    result.unwrap();
    let root = dir.path().join("root");
    assert_eq!(fs::read_link(root.join("a")).unwrap(), Path::new("b"));
    assert_eq!(fs::read_to_string(root.join("c/new")).unwrap(), "new");
    assert_eq!(fs::read_to_string(root.join("d")).unwrap(), "22");
}

#[test]
fn whiteouts_take_the_form_of_overlayfs() {
    if !is_root("whiteouts_take_the_form_of_overlayfs") {
        return;
    }
    let ball = TarBall::new()
        .file("etc/.wh.gone", "")
        .dir("opt")
        .file("opt/.wh..wh..opq", "")
        .file(".wh.again", "")
        .dir("again")
        .file(".wh.implied", "")
        .file("implied/file", "x")
        .file("kept", "x")
        .file(".wh.kept", "")
        .dir("late")
        .file(".wh.late", "")
        .file(".wh..wh.plnk/x", "aufs");
    let (dir, result) = unpack(ball);
    result.unwrap();
    let at = |path: &str| dir.path().join("root").join(path);
    let gone = fs::symlink_metadata(at("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for (path, opaque) in [("opt", true), ("again", true), ("implied", true), ("late", true), ("etc", false)] {
        assert_eq!(xattr(&at(path), "trusted.overlay.opaque").is_some(), opaque, "{path}");
    }
    assert_eq!(fs::read_to_string(at("kept")).unwrap(), "x");
}

#[test]
fn nothing_leaves_the_layer() {
    if !is_root("nothing_leaves_the_layer") {
        return;
    }
    // Refused: a name that leads out, or a link to what the layer has not.
    for (ball, want) in [
        (TarBall::new().file("../out", "x"), "a path with .. leads out"),
        (TarBall::new().file("a/../../out", "x"), "a path with .. leads out"),
        (TarBall::new().hard_link("in", "../out"), "a path with .. leads out"),
        (TarBall::new().hard_link("in", "/etc/passwd"), "No such file"),
        (TarBall::new().file("etc/.wh..", ""), "a whiteout that names nothing"),
        (TarBall::new().file("etc/.wh.", ""), "a whiteout that names nothing"),
        (TarBall::new().file("f", "x").file("f/g", "x"), "Not a directory"),
        (TarBall::new().file("/", "x"), "it is the root"),
        (TarBall::new().entry(EntryType::new(b'Z'), "z", 0o644, "", b""), "unknown"),
    ] {
        let (dir, result) = unpack(ball);
        let error = result.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        assert!(!dir.path().join("out").exists());
    }
    // Held in: links that lead out mean the layer's own.
    let (dir, result) = unpack(
        TarBall::new()
            .symlink("up", "../../..")
            .file("up/one", "x")
            .symlink("abs", "/")
            .file("abs/two", "x")
            .symlink("final", "../victim")
            .file("final", "x")
            .symlink("run", "/var/run")
            .dir("var/run")
            .file("run/three", "x")
            .symlink("dir", "/var")
            .file("/abs-name", "x"),
    );
    result.unwrap();
    let root = dir.path().join("root");
    for path in ["one", "two", "final", "var/run/three", "abs-name"] {
        assert!(fs::symlink_metadata(root.join(path)).unwrap().is_file(), "{path}");
    }
    let outside: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(outside.len(), 1);
}

#[test]
fn a_wrong_digest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = gzip(&TarBall::new().bytes());
    let error = unpack_layer(&bytes[..], &digest_of(b"other"), dir.path()).unwrap_err().to_string();
    assert!(error.contains("damaged or forged"), "{error}");
    let error = unpack_layer(&b"garbage"[..], &digest_of(b"garbage"), dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("layer sha256:"), "{error}");
}
