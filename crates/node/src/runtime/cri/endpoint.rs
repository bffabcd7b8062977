//! Where a runtime is: what `--container-runtime-endpoint` says.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Sockets of containerd and CRI-O, in this order.
const USUAL: [&str; 3] = ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/var/run/crio/crio.sock"];

/// Which runtime a node uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Endpoint {
    /// The one in this binary.
    #[default]
    Embedded,
    /// The first whose socket is at its usual place; the one in this binary where there is none.
    Auto,
    /// The one behind this socket.
    Socket(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "embedded" => return Ok(Self::Embedded),
            "auto" => return Ok(Self::Auto),
            _ => {}
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Socket(path.into()));
        }
        Err(format!("{text:?} is no runtime: write unix:///run/containerd/containerd.sock, auto or embedded"))
    }
}

impl Endpoint {
    /// The socket to use; None is the runtime in this binary.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded => None,
            Self::Socket(path) => Some(path.clone()),
            Self::Auto => first_of(&USUAL.map(Path::new)),
        }
    }
}

fn first_of(places: &[&Path]) -> Option<PathBuf> {
    let is_socket = |path: &&&Path| path.metadata().is_ok_and(|meta| meta.file_type().is_socket());
    places.iter().find(is_socket).map(|path| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, want) in [
            ("embedded", Ok(Endpoint::Embedded)),
            ("auto", Ok(Endpoint::Auto)),
            ("unix:///run/x.sock", Ok(Endpoint::Socket("/run/x.sock".into()))),
            ("/run/x.sock", Ok(Endpoint::Socket("/run/x.sock".into()))),
        ] {
            assert_eq!(text.parse(), want);
        }
        for text in ["", "tcp://127.0.0.1:1", "containerd"] {
            assert!(text.parse::<Endpoint>().unwrap_err().contains("unix:///run/containerd"), "{text}");
        }
    }

    #[test]
    fn the_first_socket_is_taken_and_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        let places = [at("none"), at("file"), at("a"), at("b")];
        let places: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
        assert_eq!(first_of(&places), None);
        let _b = std::os::unix::net::UnixListener::bind(at("b")).unwrap();
        assert_eq!(first_of(&places), Some(at("b")));
        let _a = std::os::unix::net::UnixListener::bind(at("a")).unwrap();
        assert_eq!(first_of(&places), Some(at("a")));
    }
}
