//! The store from outside: loading, sharing, pinning, removing, and what is left after a kill.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::digest::digest_of;
use super::error::StoreError;
use super::store::Store;
use super::testing::{TarBall, docker_archive, gzip, is_root, layout_archive};

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("images")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn reopen(&self) -> Store {
        Store::open(&self.path("images")).unwrap()
    }

    fn count(&self, dir: &str) -> usize {
        fs::read_dir(self.path("images").join(dir)).unwrap().count()
    }

    /// Writes and loads a docker archive.
    fn load(&self, tag: &str, layers: &[Vec<u8>]) -> String {
        let path = self.path("x.tar");
        docker_archive(&path, &[tag], layers);
        self.store.load_archive(&path).unwrap()[0].id.clone()
    }
}

fn layers() -> [Vec<u8>; 2] {
    [TarBall::new().file("bin/hello", "one").bytes(), TarBall::new().file("etc/x", "two2").bytes()]
}

#[test]
fn archives_load_whatever_made_them() {
    if !is_root("archives_load_whatever_made_them") {
        return;
    }
    let annotation = |key: &str, value: &str| serde_json::json!({key: value});
    let full = "docker.io/library/busybox:1.36";
    type Write = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Write, &str, usize)> = vec![
        ("a.tar", Box::new(|path| docker_archive(path, &["busybox:1.36"], &layers())), full, 0),
        ("busybox.tar", Box::new(|path| docker_archive(path, &[], &layers())), "docker.io/library/busybox:latest", 0),
        (
            "a.tar",
            Box::new(move |path| {
                layout_archive(path, annotation("org.opencontainers.image.ref.name", "busybox:1.36"), &layers());
            }),
            full,
            1,
        ),
        (
            "busybox.tar.gz",
            Box::new(move |path| {
                layout_archive(path, annotation("org.opencontainers.image.ref.name", "1.36"), &layers());
                fs::write(path, gzip(&fs::read(path).unwrap())).unwrap();
            }),
            full,
            1,
        ),
        (
            "a.tar",
            Box::new(move |path| layout_archive(path, annotation("io.containerd.image.name", full), &layers())),
            full,
            1,
        ),
    ];
    for (file, write, name, digests) in cases {
        let fixture = Fixture::new();
        write(&fixture.path(file));
        let infos = fixture.store.load_archive(&fixture.path(file)).unwrap();
        assert_eq!(infos.len(), 1);
        let info = &infos[0];
        assert_eq!((info.tags.as_slice(), info.digests.len()), (&[name.to_owned()][..], digests));
        assert_eq!((info.size, info.user.as_str()), (7, "7"));
        for reference in [name, &info.id, info.id.trim_start_matches("sha256:")] {
            assert_eq!(fixture.store.get(reference).unwrap().unwrap().id, info.id);
        }
        let rootfs = fixture.store.rootfs(&info.id).unwrap();
        assert_eq!(rootfs.config.entrypoint, ["/bin/hello"]);
        assert_eq!(fs::read_to_string(rootfs.lower_dirs[0].join("etc/x")).unwrap(), "two2", "the top layer is first");
        assert_eq!(fs::read_to_string(rootfs.lower_dirs[1].join("bin/hello")).unwrap(), "one");
        assert_eq!(fixture.count("tmp"), 0);
    }
}

#[test]
fn other_files_are_refused_and_leave_nothing() {
    if !is_root("other_files_are_refused_and_leave_nothing") {
        return;
    }
    let good = {
        let fixture = Fixture::new();
        docker_archive(&fixture.path("x"), &["a"], &layers());
        fs::read(fixture.path("x")).unwrap()
    };
    let mut damaged = good.clone();
    // Inside the first layer: its file's name.
    let at = good.windows(9).position(|part| part == b"bin/hello").unwrap();
    damaged[at] = b'c';
    let mut cut = good.clone();
    cut.truncate(700);
    for (bytes, want) in [
        (b"hello".to_vec(), "neither manifest.json (docker save) nor index.json"),
        (TarBall::new().file("x", "y").bytes(), "neither manifest.json (docker save) nor index.json"),
        (TarBall::new().file("manifest.json", "[]").bytes(), "no image for linux/"),
        (TarBall::new().file("manifest.json", "{").bytes(), "manifest.json: "),
        (damaged, "layer sha256:"),
        (cut, "neither"),
        (gzip(b"hello"), "neither"),
    ] {
        let fixture = Fixture::new();
        fs::write(fixture.path("x.tar"), bytes).unwrap();
        let error = fixture.store.load_archive(&fixture.path("x.tar")).unwrap_err().to_string();
        assert!(error.contains(want) || error.contains("not a tar archive"), "{want}: {error}");
        assert!(fixture.store.list().unwrap().is_empty());
        assert_eq!(fixture.count("tmp"), 0);
    }
    let fixture = Fixture::new();
    let error = fixture.store.load_archive(Path::new("/proc/no-such-file")).unwrap_err().to_string();
    assert_eq!(error, "/proc/no-such-file: No such file or directory (os error 2)");
}

#[test]
fn layers_are_shared_and_go_with_their_last_image() {
    if !is_root("layers_are_shared_and_go_with_their_last_image") {
        return;
    }
    let fixture = Fixture::new();
    let [one, two] = layers();
    let small = fixture.load("small", std::slice::from_ref(&one));
    let big = fixture.load("big", &[one, two]);
    assert_eq!(fixture.count("layers"), 2);
    fixture.store.pin(&big, "node-1.abc").unwrap();
    let error = fixture.store.remove("big").unwrap_err();
    assert_eq!(error.to_string(), "image \"big\" is used by node-1.abc: remove that first");
    fixture.store.unpin("node-1.abc").unwrap();
    fixture.store.unpin("node-1.abc").unwrap();
    fixture.store.remove("big").unwrap();
    assert_eq!((fixture.count("layers"), fixture.store.get("big").unwrap().is_none()), (1, true));
    assert!(matches!(fixture.store.remove("big"), Err(StoreError::NotFound(_))));
    assert!(matches!(fixture.store.remove(&big), Err(StoreError::NotFound(_))));
    fixture.store.remove(&small).unwrap();
    assert_eq!((fixture.count("layers"), fixture.count("records")), (0, 0));
}

#[test]
fn a_name_moves_to_the_newer_image() {
    if !is_root("a_name_moves_to_the_newer_image") {
        return;
    }
    let fixture = Fixture::new();
    let [one, two] = layers();
    let old = fixture.load("app", &[one]);
    let new = fixture.load("app", &[two]);
    assert_eq!(fixture.store.get("app").unwrap().unwrap().id, new);
    assert!(fixture.store.get(&old).unwrap().unwrap().tags.is_empty());
    assert_eq!(fixture.store.list().unwrap().len(), 2);
}

#[test]
fn pins_of_the_dead_go() {
    if !is_root("pins_of_the_dead_go") {
        return;
    }
    let fixture = Fixture::new();
    let id = fixture.load("app", &layers());
    for holder in ["node-1.a", "node-1.b", "node-2.a"] {
        fixture.store.pin(&id, holder).unwrap();
    }
    fixture.store.retain_pins("node-1.", &BTreeSet::from(["node-1.b".to_owned()])).unwrap();
    let left: BTreeSet<_> =
        fs::read_dir(fixture.path("images/pins")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["node-1.b".into(), "node-2.a".into()]));
    for holder in ["", "../x", ".x", "a/b"] {
        assert!(fixture.store.pin(&id, holder).is_err(), "{holder:?}");
    }
    assert!(matches!(fixture.store.pin(&digest_of(b"none"), "x"), Err(StoreError::NotFound(_))));
}

#[test]
fn opening_takes_away_what_a_kill_left() {
    if !is_root("opening_takes_away_what_a_kill_left") {
        return;
    }
    let fixture = Fixture::new();
    fixture.load("app", &layers());
    let images = fixture.path("images");
    let orphan = images.join("layers").join("0".repeat(64));
    let abandoned = images.join("tmp/abandoned");
    for dir in [&orphan, &abandoned] {
        fs::create_dir_all(dir.join("fs")).unwrap();
    }
    fs::write(images.join("tmp/file"), "cut").unwrap();
    fs::write(abandoned.join("lock"), "").unwrap();
    let at_work = fixture.store.layout.staging().unwrap();
    fixture.reopen();
    assert!(!abandoned.exists());
    assert_eq!(fixture.count("tmp"), 1, "the work of a live process stays");
    drop(at_work);
    let store = fixture.reopen();
    assert_eq!((fixture.count("tmp"), orphan.exists()), (0, false));
    assert!(store.get("app").unwrap().is_some());
}

#[test]
fn layers_that_a_power_failure_may_have_cut_are_not_trusted() {
    if !is_root("layers_that_a_power_failure_may_have_cut_are_not_trusted") {
        return;
    }
    for durable in [true, false] {
        let fixture = Fixture::new();
        fixture.load("app", &layers());
        for layer in fs::read_dir(fixture.path("images/layers")).unwrap() {
            let layer = layer.unwrap().path();
            // Until the thread that syncs has done its work, it may undo what is done here.
            while !layer.join("durable").exists() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            fs::write(layer.join("layer.json"), r#"{"size":1,"boot_id":"earlier"}"#).unwrap();
            if !durable {
                fs::remove_file(layer.join("durable")).unwrap();
            }
        }
        let store = fixture.reopen();
        assert_eq!(store.get("app").unwrap().is_some(), durable);
        assert_eq!(store.list().unwrap().len(), usize::from(durable));
    }
}

#[test]
fn the_builtin_image_follows_its_program() {
    let fixture = Fixture::new();
    let exe = fixture.path("program");
    fs::write(&exe, "one").unwrap();
    let args = ["controller".to_owned()];
    let env = [("A".to_owned(), "b".to_owned())];
    let add = || fixture.store.add_builtin("everynode/demo:v1", &exe, &args, &env).unwrap();
    let first = add();
    assert_eq!(first.tags, ["docker.io/everynode/demo:v1"]);
    assert_eq!(add().id, first.id);
    let rootfs = fixture.store.rootfs(&first.id).unwrap();
    assert_eq!(rootfs.config.entrypoint, ["/everynode", "controller"]);
    assert_eq!(rootfs.config.env, env);
    assert_eq!(fs::read_to_string(rootfs.lower_dirs[0].join("everynode")).unwrap(), "one");
    assert!(rootfs.lower_dirs[0].join("tmp").is_dir());
    // Another file with the same content is the same program.
    fs::remove_file(&exe).unwrap();
    fs::write(&exe, "one").unwrap();
    assert_eq!(add().id, first.id);
    fs::write(&exe, "two!").unwrap();
    let second = add();
    assert_ne!(second.id, first.id);
    assert_eq!(fixture.store.get("everynode/demo:v1").unwrap().unwrap().id, second.id);
}

#[test]
fn two_loaders_at_once_unpack_a_layer_once() {
    if !is_root("two_loaders_at_once_unpack_a_layer_once") {
        return;
    }
    let fixture = Fixture::new();
    let path = fixture.path("x.tar");
    docker_archive(&path, &["app"], &layers());
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let loaders: Vec<_> =
            (0..4).map(|_| scope.spawn(|| fixture.reopen().load_archive(&path).unwrap()[0].id.clone())).collect();
        loaders.into_iter().map(|loader| loader.join().unwrap()).collect()
    });
    assert_eq!((ids.len(), fixture.count("layers"), fixture.count("tmp")), (1, 2, 0));
}

/// Where the child of the next test loads from.
const KILL_TEST_DIR: &str = "EVERYNODE_KILL_TEST_DIR";

#[test]
#[ignore = "the child of a_killed_loader_leaves_a_whole_store"]
fn loads_until_it_is_killed() {
    if let Some(dir) = std::env::var_os(KILL_TEST_DIR) {
        let dir = Path::new(&dir);
        let store = Store::open(&dir.join("images")).unwrap();
        loop {
            store.load_archive(&dir.join("x.tar")).unwrap();
            store.remove("app").unwrap();
        }
    }
}

#[test]
fn a_killed_loader_leaves_a_whole_store() {
    if !is_root("a_killed_loader_leaves_a_whole_store") {
        return;
    }
    let fixture = Fixture::new();
    let files = |layer: usize| {
        (0..40).fold(TarBall::new(), |ball, file| ball.file(&format!("dir{layer}/{file}"), "content")).bytes()
    };
    docker_archive(&fixture.path("x.tar"), &["app"], &[files(0), files(1), files(2)]);
    for round in 0..12 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "images::store_tests::loads_until_it_is_killed", "--ignored", "--quiet"])
            .env(KILL_TEST_DIR, fixture.dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Long enough to be at work, at another point of it each time.
        std::thread::sleep(std::time::Duration::from_millis(40 + 7 * round));
        assert!(child.try_wait().unwrap().is_none(), "it loads until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
        let store = fixture.reopen();
        assert_eq!(fixture.count("tmp"), 0);
        for info in store.list().unwrap() {
            for (index, dir) in store.rootfs(&info.id).unwrap().lower_dirs.iter().rev().enumerate() {
                assert_eq!(fs::read_dir(dir.join(format!("dir{index}"))).unwrap().count(), 40);
            }
        }
    }
    assert_eq!(fixture.store.load_archive(&fixture.path("x.tar")).unwrap().len(), 1);
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    if !is_root("a_full_disk_is_said_and_leaves_nothing") {
        return;
    }
    let fixture = Fixture::new();
    let small = fixture.path("small");
    fs::create_dir(&small).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &small, Some("tmpfs"), flags, Some("size=256k")).unwrap();
    let big = TarBall::new().file("big", &"x".repeat(1 << 20)).bytes();
    docker_archive(&fixture.path("x.tar"), &["app"], &[big]);
    let store = Store::open(&small).unwrap();
    let error = store.load_archive(&fixture.path("x.tar")).unwrap_err();
    let listed = store.list().unwrap();
    let left: Vec<_> = ["tmp", "layers"].map(|dir| fs::read_dir(small.join(dir)).unwrap().count()).to_vec();
    nix::mount::umount2(&small, nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert!(error.to_string().ends_with("No space left on device (os error 28)"), "{error}");
    assert!(matches!(error, StoreError::Io { .. }) && listed.is_empty());
    assert_eq!(left, [0, 0]);
}
