//! What can go wrong with an image, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::ImageError;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name can't be one of an image.
    #[error("couldn't parse image name {name:?}: {cause}")]
    InvalidName {
        /// As it was given.
        name: String,
        /// For people.
        cause: String,
    },
    /// No such image here.
    #[error("image {0:?} is not on this machine: pull it, or load it from an archive")]
    NotFound(String),
    /// A container runs from it.
    #[error("image {image:?} is used by {holder}: remove that first")]
    InUse {
        /// The image as it was named.
        image: String,
        /// Who holds it.
        holder: String,
    },
    /// What came is not what it should be: wrong digest, no image, an attack.
    #[error("{what}: {cause}")]
    Content {
        /// The archive, blob or layer.
        what: String,
        /// For people.
        cause: String,
    },
    /// No registry gave it.
    #[error("failed to pull image {image:?}: {cause}")]
    Pull {
        /// As it was named.
        image: String,
        /// For people.
        cause: String,
    },
    /// This machine.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StoreError {
    /// Wraps an error of the kernel with the file it is about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// Something is wrong with what was read.
    pub(crate) fn content(what: impl Into<String>, cause: impl ToString) -> Self {
        Self::Content { what: what.into(), cause: cause.to_string() }
    }
}

impl From<StoreError> for ImageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InvalidName { name, cause } => Self::InvalidImageName(name, cause),
            StoreError::Pull { image, cause } => Self::ErrImagePull { image, cause },
            other => Self::Local(other.to_string()),
        }
    }
}
