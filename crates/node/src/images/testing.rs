//! Small layers and archives for tests, with names that a decent builder would refuse.

use std::io::Write;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::digest::digest_of;
use super::record::architecture;

/// Whether tests that change owners and make devices and namespaces can run; says so if not.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: skipped, it needs root");
    }
    root
}

/// A tar that is being written.
pub(crate) struct TarBall(Builder<Vec<u8>>);

impl TarBall {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn entry(mut self, kind: EntryType, path: &str, mode: u32, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.entry(EntryType::Regular, path, 0o644, "", data.as_bytes())
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, 0o755, "", b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, target, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, target, b"")
    }

    pub(crate) fn pax(mut self, pairs: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(pairs.iter().copied()).unwrap();
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A configuration for plain layers.
pub(crate) fn config(layers: &[Vec<u8>]) -> String {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest_of(layer)).collect();
    serde_json::json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Entrypoint": ["/bin/hello"], "Env": ["A=b"], "User": "7"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
}

/// Writes what `docker save` does.
pub(crate) fn docker_archive(path: &Path, tags: &[&str], layers: &[Vec<u8>]) {
    let config = config(layers);
    let config_name = format!("{}.json", digest_of(config.as_bytes()).trim_start_matches("sha256:"));
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": tags, "Layers": names}]).to_string();
    let mut ball = TarBall::new();
    for (name, layer) in names.iter().zip(layers) {
        ball = ball.entry(EntryType::Regular, name, 0o644, "", layer);
    }
    let ball = ball.file(&config_name, &config).file("manifest.json", &manifest);
    std::fs::write(path, ball.bytes()).unwrap();
}

/// Writes an archive of an OCI layout with gzipped layers behind a nested index of two platforms.
pub(crate) fn layout_archive(path: &Path, annotations: serde_json::Value, layers: &[Vec<u8>]) {
    let mut ball = TarBall::new();
    let mut add = |bytes: &[u8]| {
        let digest = digest_of(bytes);
        let name = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
        let old = std::mem::replace(&mut ball, TarBall::new());
        ball = old.entry(EntryType::Regular, &name, 0o644, "", bytes);
        serde_json::json!({"mediaType": "x", "digest": digest, "size": bytes.len()})
    };
    let blobs: Vec<_> = layers.iter().map(|layer| add(&gzip(layer))).collect();
    let config = add(config(layers).as_bytes());
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": blobs}).to_string();
    let mut here = add(manifest.as_bytes());
    here["platform"] = serde_json::json!({"os": "linux", "architecture": architecture()});
    let mut other = here.clone();
    other["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
    other["digest"] = serde_json::json!(digest_of(b"not in the archive"));
    let mut top = add(serde_json::json!({"schemaVersion": 2, "manifests": [other, here]}).to_string().as_bytes());
    top["annotations"] = annotations;
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [top]}).to_string();
    let ball = ball.file("index.json", &index).file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    std::fs::write(path, ball.bytes()).unwrap();
}
