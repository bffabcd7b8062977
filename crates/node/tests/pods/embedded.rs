//! The machine with the runtime that is in the binary.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node::runtime::embedded::{Embedded, Images, Joining, Options, PodNetwork, Rootfs};
use node::runtime::{ImageError, ImageInfo, RegistryAuth};

use super::world::{Machine, TOOLS};

pub(crate) struct OwnRuntime {
    image: PathBuf,
    options: Options,
}

impl Machine for OwnRuntime {
    type Runtime = Embedded<Busybox, NoNetwork>;

    fn name() -> &'static str {
        "everynode"
    }

    async fn new(dir: &Path, name: &str) -> Option<Self> {
        let image = dir.join("image");
        unpack(&image);
        let instance = format!("pods{}{name}", std::process::id());
        let mut options = Options::new(shim_program(), &instance, "n-1", &dir.join("data"));
        options.shim_args = Vec::new();
        options.run_dir = dir.join("run");
        options.log_links = dir.join("links");
        Some(Self { image, options })
    }

    async fn open(&self) -> Arc<Self::Runtime> {
        Arc::new(Embedded::open(self.options.clone(), Busybox(self.image.clone()), NoNetwork).await.unwrap())
    }

    async fn clear(&self, runtime: &Self::Runtime) {
        runtime.clear().await.unwrap();
    }
}

/// One image, whatever its name: busybox.
#[derive(Clone)]
pub(crate) struct Busybox(PathBuf);

fn info(reference: &str) -> ImageInfo {
    let tags = vec![reference.to_owned()];
    let id = "sha256:busybox".to_owned();
    ImageInfo { id, tags, digests: Vec::new(), size: 1, user: String::new(), pinned: true }
}

impl Images for Busybox {
    fn rootfs(&self, _: &str) -> Result<Option<Rootfs>, ImageError> {
        let path = "PATH=/bin".split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Ok(Some(Rootfs { lower_dirs: vec![self.0.clone()], env: path.into_iter().collect(), ..Rootfs::default() }))
    }

    fn pin(&self, _: &str, _: &str) -> Result<(), ImageError> {
        Ok(())
    }

    fn unpin(&self, _: &str) -> Result<(), ImageError> {
        Ok(())
    }

    fn retain_pins(&self, _: &str, _: &BTreeSet<String>) -> Result<(), ImageError> {
        Ok(())
    }

    async fn image_status(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        Ok(Some(info(reference)))
    }

    async fn pull_image(&self, reference: &str, _: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        Ok(info(reference))
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        Ok(Vec::new())
    }
}

/// Nobody is attached to anything.
#[derive(Clone)]
pub(crate) struct NoNetwork;

impl PodNetwork for NoNetwork {
    async fn attach(&self, _: &Joining) -> Result<Vec<IpAddr>, String> {
        Ok(vec!["10.1.2.3".parse().unwrap()])
    }

    async fn detach(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn retain(&self, _: &BTreeSet<String>) -> Result<(), String> {
        Ok(())
    }
}

fn shim_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples/shim");
    assert!(path.exists(), "{} is missing: `cargo build -p node --examples`", path.display());
    path
}

fn unpack(dir: &Path) {
    for sub in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", dir.join("bin/busybox")).unwrap();
    for tool in TOOLS {
        symlink("busybox", dir.join("bin").join(tool)).unwrap();
    }
    std::fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    std::fs::write(dir.join("etc/group"), "root:x:0:\n").unwrap();
}
