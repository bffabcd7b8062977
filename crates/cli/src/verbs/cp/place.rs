//! `[[NAMESPACE/]POD:]PATH`.

use std::path::PathBuf;

use crate::failure::{Result, message};

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Local(PathBuf),
    Pod { namespace: Option<String>, pod: String, path: String },
}

impl Place {
    /// Reads it as kubectl does: what has a colon is in a pod.
    pub(super) fn read(text: &str) -> Result<Self> {
        let Some((pod, path)) = text.split_once(':') else { return Ok(Self::Local(text.into())) };
        let (namespace, pod) = match pod.split('/').collect::<Vec<_>>()[..] {
            [pod] if !pod.is_empty() => (None, pod),
            [namespace, pod] if !namespace.is_empty() && !pod.is_empty() => (Some(namespace.to_owned()), pod),
            _ => return message("filespec must match the canonical format: [[namespace/]pod:]file/path"),
        };
        Ok(Self::Pod { namespace, pod: pod.to_owned(), path: path.to_owned() })
    }
}

/// The last name of a path; that of a directory above is none.
pub(super) fn base_name(path: &str) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") { ".".to_owned() } else { name.to_owned() }
}

/// Directory and name of a path there.
pub(super) fn split(path: &str) -> (&str, &str) {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((dir, name)) => (dir, name),
        None => (".", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let pod = |namespace: Option<&str>, pod: &str, path: &str| {
            let namespace = namespace.map(str::to_owned);
            Some(Place::Pod { namespace, pod: pod.to_owned(), path: path.to_owned() })
        };
        for (text, want) in [
            ("/tmp/x", Some(Place::Local("/tmp/x".into()))),
            ("web:/tmp/x", pod(None, "web", "/tmp/x")),
            ("ns/web:x", pod(Some("ns"), "web", "x")),
            ("web:", pod(None, "web", "")),
            (":/x", None),
            ("a/b/c:/x", None),
        ] {
            assert_eq!(Place::read(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn names_and_directories() {
        for (path, name) in [("/a/b", "b"), ("/a/b/", "b"), ("b", "b"), ("/", "."), ("..", ".")] {
            assert_eq!(base_name(path), name, "{path}");
        }
        for (path, want) in [("/a/b", ("/a", "b")), ("/b", ("/", "b")), ("b", (".", "b")), ("/a/b/", ("/a", "b"))] {
            assert_eq!(split(path), want, "{path}");
        }
    }
}
