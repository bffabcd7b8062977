//! Images from files: archives of `docker save` and archives of OCI layouts, as skopeo, umoci and docker write them.
//!
//! # Invariants
//! - A plain tar is read in place; a compressed one is unpacked once into the staging directory.
//! - Everything that has a digest in its name is verified against it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tar::EntryType;

use super::digest::{HashReader, decompress, digest_of};
use super::error::StoreError;
use super::install::Incoming;
use super::layout::Staging;
use super::manifest::{Descriptor, INDEX_DEPTH_MAX, JSON_BYTES_MAX, Manifest};
use super::name::{Name, is_digest, is_hex};
use super::record::{architecture, parse_config};
use super::store::Store;
use crate::runtime::ImageInfo;

/// Most entries of an archive: an image has at most 127 layers with a few files each, an archive some dozens of images.
const ENTRIES_MAX: usize = 100_000;

/// Full name of an image in an OCI layout, as containerd and docker write it.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// Name or only tag of an image in an OCI layout.
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

impl Store {
    /// Loads all images of an archive (docker save or OCI layout; tar, gzip or zstd). An image that the archive does
    /// not name gets the name of the file.
    ///
    /// # Errors
    /// [`StoreError::Content`] when it is no such archive or damaged, [`StoreError::Io`].
    pub fn load_archive(&self, path: &Path) -> Result<Vec<ImageInfo>, StoreError> {
        let staging = self.layout.staging()?;
        let archive = Archive::open(path, &staging)?;
        let stem =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next()).unwrap_or("");
        let found = if archive.entries.contains_key("manifest.json") {
            archive.docker_images(stem)?
        } else if archive.entries.contains_key("index.json") {
            archive.layout_images(stem)?
        } else {
            return Err(archive.bad("neither manifest.json (docker save) nor index.json (OCI layout) is in it"));
        };
        if found.is_empty() {
            return Err(archive.bad(format!("no image for linux/{} is in it", architecture())));
        }
        let mut infos = Vec::new();
        for (image, blobs) in found {
            infos.push(self.install(&staging, &image, |index| archive.blob(blobs.get(index)))?);
        }
        Ok(infos)
    }
}

/// An image and the entries of its layers, the bottom one first.
type Found = (Incoming, Vec<String>);

/// An archive with an index of its entries.
struct Archive {
    what: String,
    file: File,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    File { offset: u64, length: u64 },
    Link(String),
}

/// One image in manifest.json of docker save.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl Archive {
    fn open(path: &Path, staging: &Staging) -> Result<Self, StoreError> {
        let what = path.display().to_string();
        let mut file = File::open(path).map_err(StoreError::io(path))?;
        if !file.metadata().map_err(StoreError::io(path))?.is_file() {
            return Err(StoreError::content(what, "not a regular file"));
        }
        let mut head = [0; 4];
        let packed = file.read_exact_at(&mut head, 0).is_ok()
            && (head.starts_with(&[0x1f, 0x8b]) || head == *b"\x28\xb5\x2f\xfd");
        if packed {
            let plain = staging.join("archive.tar");
            let mut out =
                File::options().read(true).write(true).create_new(true).open(&plain).map_err(StoreError::io(&plain))?;
            let mut reader = decompress(&file).map_err(|error| StoreError::content(&what, error))?;
            io::copy(&mut reader, &mut out).map_err(|error| StoreError::content(&what, error))?;
            out.seek(SeekFrom::Start(0)).map_err(StoreError::io(&plain))?;
            drop(reader);
            file = out;
        }
        let entries =
            index(&file).map_err(|error| StoreError::content(&what, format!("not a tar archive: {error}")))?;
        Ok(Self { what, file, entries })
    }

    /// Images of `docker save`.
    fn docker_images(&self, stem: &str) -> Result<Vec<Found>, StoreError> {
        let images: Vec<DockerImage> = self.json("manifest.json")?;
        let only = images.len() == 1;
        images
            .into_iter()
            .map(|image| {
                let bytes = self.bytes(&image.config)?;
                let id = digest_of(&bytes);
                let named = file_name(&image.config).trim_end_matches(".json");
                if is_hex(named) && format!("sha256:{named}") != id {
                    return Err(self.bad(format!("{} is damaged: its digest is {id}", image.config)));
                }
                let mut names = Vec::new();
                for tag in image.repo_tags.unwrap_or_default() {
                    names.push(Name::parse(&tag)?.canonical());
                }
                if names.is_empty() && only {
                    names.extend(Name::parse(stem).ok().map(|name| name.canonical()));
                }
                self.found(&bytes, id, names, image.layers.unwrap_or_default())
            })
            .collect()
    }

    /// Images of an OCI layout.
    fn layout_images(&self, stem: &str) -> Result<Vec<Found>, StoreError> {
        let index: Manifest = self.json("index.json")?;
        let mut found = Vec::new();
        for descriptor in &index.manifests {
            let Some((digest, manifest)) = self.manifest(descriptor, 0)? else { continue };
            let config = manifest.config.ok_or_else(|| self.bad(format!("{digest} has no configuration")))?;
            let bytes = self.verified(&config.digest)?;
            let mut names = Vec::new();
            if let Some(name) = layout_name(descriptor, stem)? {
                names.push(name.canonical());
                names.push(name.with_digest(&descriptor.digest));
            }
            let mut blobs = Vec::new();
            for layer in &manifest.layers {
                blobs.push(self.blob_path(&layer.digest)?);
            }
            found.push(self.found(&bytes, config.digest, names, blobs)?);
        }
        Ok(found)
    }

    /// The manifest behind a descriptor: its own, or that for this machine where it leads to an index.
    fn manifest(&self, descriptor: &Descriptor, depth: usize) -> Result<Option<(String, Manifest)>, StoreError> {
        if depth > INDEX_DEPTH_MAX {
            return Err(self.bad("its indexes nest too deeply"));
        }
        if !descriptor.fits() {
            return Ok(None);
        }
        let bytes = self.verified(&descriptor.digest)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| self.bad(format!("{}: {error}", descriptor.digest)))?;
        if manifest.config.is_some() {
            return Ok(Some((descriptor.digest.clone(), manifest)));
        }
        for below in &manifest.manifests {
            if let Some(found) = self.manifest(below, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn found(&self, config: &[u8], id: String, names: Vec<String>, blobs: Vec<String>) -> Result<Found, StoreError> {
        let (config, diff_ids) = parse_config(config, &self.what)?;
        if diff_ids.len() != blobs.len() {
            return Err(self.bad(format!("image {id} has {} layers but {} diffIDs", blobs.len(), diff_ids.len())));
        }
        Ok((Incoming { id, config, diff_ids, names, kept: true }, blobs))
    }

    fn blob_path(&self, digest: &str) -> Result<String, StoreError> {
        match digest.strip_prefix("sha256:") {
            Some(hex) if is_digest(digest) => Ok(format!("blobs/sha256/{hex}")),
            _ => Err(self.bad(format!("{digest:?} is not a sha256 digest"))),
        }
    }

    /// A blob of an OCI layout as a layer. Its digest is verified with the diffID, once it is unpacked.
    fn blob(&self, path: Option<&String>) -> Result<Box<dyn Read + '_>, StoreError> {
        let path = path.ok_or_else(|| self.bad("a layer is missing"))?;
        let slice = self.slice(path)?;
        let hex = file_name(path);
        if path.starts_with("blobs/sha256/") {
            // Verified beforehand: a decompressor may stop before the end of a blob that was tampered with.
            let digest = HashReader::new(self.slice(path)?).finish().map_err(|error| self.bad(error))?;
            if digest != format!("sha256:{hex}") {
                return Err(self.bad(format!("{path} is damaged: its digest is {digest}")));
            }
        }
        Ok(Box::new(slice))
    }

    fn verified(&self, digest: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest)?;
        let bytes = self.bytes(&path)?;
        let got = digest_of(&bytes);
        if got == digest { Ok(bytes) } else { Err(self.bad(format!("{path} is damaged: its digest is {got}"))) }
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, StoreError> {
        serde_json::from_slice(&self.bytes(path)?).map_err(|error| self.bad(format!("{path}: {error}")))
    }

    fn bytes(&self, path: &str) -> Result<Vec<u8>, StoreError> {
        let mut slice = self.slice(path)?;
        if slice.left > JSON_BYTES_MAX {
            return Err(self.bad(format!("{path} is larger than {JSON_BYTES_MAX} bytes")));
        }
        let mut bytes = Vec::new();
        slice.read_to_end(&mut bytes).map_err(|error| self.bad(format!("{path}: {error}")))?;
        Ok(bytes)
    }

    /// An entry's bytes. docker save links a layer that two images share.
    fn slice(&self, path: &str) -> Result<Slice<'_>, StoreError> {
        let missing = || self.bad(format!("{path} is not in it"));
        let path = normal(Path::new(path)).ok_or_else(missing)?;
        let mut entry = self.entries.get(&path).ok_or_else(missing)?;
        if let Entry::Link(target) = entry {
            entry = self.entries.get(target).ok_or_else(missing)?;
        }
        match entry {
            Entry::File { offset, length } => Ok(Slice { file: &self.file, at: *offset, left: *length }),
            Entry::Link(_) => Err(missing()),
        }
    }

    fn bad(&self, cause: impl ToString) -> StoreError {
        StoreError::content(&self.what, cause)
    }
}

/// A part of a file as a reader of its own.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn index(file: &File) -> io::Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(file).entries_with_seek()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(name) = normal(&path) else { continue };
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                entries.insert(name, Entry::File { offset: entry.raw_file_position(), length: entry.size() });
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                let symbolic = entry.header().entry_type() == EntryType::Symlink;
                let whole = match path.parent() {
                    Some(parent) if symbolic => parent.join(target),
                    _ => target,
                };
                if let Some(target) = normal(&whole) {
                    entries.insert(name, Entry::Link(target));
                }
            }
            _ => {}
        }
        if entries.len() > ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
        }
    }
    Ok(entries)
}

/// A path inside the archive without `.` and `..`; None if it leads out.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir | Component::RootDir => {}
            Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// An image's name in an OCI layout: whole, or a tag of what the file is called.
fn layout_name(descriptor: &Descriptor, stem: &str) -> Result<Option<Name>, StoreError> {
    if let Some(name) = descriptor.annotations.get(NAME_ANNOTATION) {
        return Name::parse(name).map(Some);
    }
    match descriptor.annotations.get(REF_ANNOTATION) {
        Some(name) if name.contains([':', '/']) => Name::parse(name).map(Some),
        Some(tag) => Ok(Name::parse(&format!("{stem}:{tag}")).ok()),
        None => Ok(Name::parse(stem).ok()),
    }
}
