//! Mirrors of a registry as files say: `DIR/REGISTRY/hosts.toml`, or `DIR/_default/hosts.toml` for all others, in the format
//! that containerd has made the usual one.
//!
//! # Invariants
//! What a file asks for and is not done here is refused in words, never left out.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::StoreError;
use super::registry::{Endpoint, split_url};

/// Directory for registries that have none of their own.
const ANY_REGISTRY: &str = "_default";
/// Most bytes of a file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Mirrors of one registry at most: each may take its time to fail.
const HOSTS_MAX: usize = 32;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// Tried in this order.
    pub(crate) mirrors: Vec<Endpoint>,
    /// In place of the registry itself.
    pub(crate) server: Option<Endpoint>,
}

/// The first file about this registry; None without one.
pub(crate) fn read(dirs: &[PathBuf], registry: &str) -> Result<Option<Hosts>, StoreError> {
    // A colon is not welcome in names of directories everywhere, so the port may follow an underscore.
    let names = [registry.to_owned(), format!("{}_", registry.replace(':', "_")), ANY_REGISTRY.to_owned()];
    for name in names {
        for dir in dirs {
            let path = dir.join(&name).join("hosts.toml");
            match fs::metadata(&path) {
                Ok(meta) if meta.len() <= FILE_BYTES_MAX => {
                    let text = fs::read_to_string(&path).map_err(StoreError::io(&path))?;
                    let hosts = parse(&text, path.parent().unwrap_or(dir));
                    return hosts.map(Some).map_err(|cause| StoreError::content(path.display().to_string(), cause));
                }
                Ok(_) => return Err(StoreError::content(path.display().to_string(), "it is larger than 1 MiB")),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(StoreError::io(&path)(error)),
            }
        }
    }
    Ok(None)
}

fn parse(text: &str, dir: &Path) -> Result<Hosts, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let mut hosts = Hosts::default();
    let empty = Table::new();
    // What stands at the top is about the server.
    let mut of_server = table.clone();
    let named = of_server.remove("server");
    let list = of_server.remove("host");
    if let Some(url) = named.as_ref().map(|url| url.as_str().ok_or("server is no text")).transpose()? {
        hosts.server = Some(Endpoint { mirror: false, ..endpoint(url, &of_server, dir)? });
    }
    let list = list.as_ref().map(|list| list.as_table().ok_or("host is no table")).transpose()?;
    for (url, settings) in list.into_iter().flatten() {
        let settings = settings.as_table().unwrap_or(&empty);
        hosts.mirrors.push(endpoint(url, settings, dir).map_err(|cause| format!("host {url:?}: {cause}"))?);
    }
    if hosts.mirrors.len() > HOSTS_MAX {
        return Err(format!("more than {HOSTS_MAX} hosts"));
    }
    Ok(hosts)
}

fn endpoint(url: &str, settings: &Table, dir: &Path) -> Result<Endpoint, String> {
    // Without a scheme it is https, as in containerd.
    let whole = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let (plain_http, host) = split_url(&whole)?;
    let mut host = host.to_owned();
    let (mut pull, mut resolve) = (true, true);
    let (mut ca, mut skip_verify) = (Vec::new(), false);
    for (key, value) in settings {
        match (key.as_str(), value) {
            ("capabilities", Value::Array(list)) => {
                let has = |word: &str| list.iter().any(|one| one.as_str() == Some(word));
                (pull, resolve) = (has("pull"), has("resolve"));
            }
            ("ca", Value::String(path)) => ca.push(dir.join(path)),
            ("ca", Value::Array(list)) => ca.extend(list.iter().filter_map(Value::as_str).map(|path| dir.join(path))),
            ("skip_verify", Value::Boolean(on)) => skip_verify = *on,
            ("override_path", Value::Boolean(on)) => {
                if *on {
                    let base = host.strip_suffix("/v2").ok_or("override_path with a path that does not end in /v2")?;
                    host = base.to_owned();
                }
            }
            // How long to wait is decided here; `dial_timeout` asks for nothing that would be missed.
            ("dial_timeout", _) => {}
            (other, _) => return Err(format!("{other} is not supported here, or not of its type")),
        }
    }
    Ok(Endpoint { host, plain_http, mirror: true, pull, resolve, ca, skip_verify })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(endpoint: &Endpoint) -> String {
        let scheme = if endpoint.plain_http { "http" } else { "https" };
        let mut text = format!("{scheme}://{}", endpoint.host);
        for (on, word) in [
            (endpoint.mirror, " mirror"),
            (!endpoint.pull, " no-pull"),
            (!endpoint.resolve, " no-resolve"),
            (endpoint.skip_verify, " unverified"),
        ] {
            text.push_str(if on { word } else { "" });
        }
        for path in &endpoint.ca {
            text.push_str(&format!(" ca={}", path.display()));
        }
        text
    }

    #[test]
    fn hosts_in_their_order() {
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://second.example:5000/cache"]
              capabilities = ["pull"]
              ca = "ca.pem"
            [host."http://first.example"]
              skip_verify = true
              dial_timeout = "1s"
            [host."https://odd.example/v2"]
              override_path = true
              ca = ["/a", "b"]
            [host."plain.example"]
        "#;
        let hosts = parse(text, Path::new("/d")).unwrap();
        assert_eq!(shown(hosts.server.as_ref().unwrap()), "https://registry-1.docker.io");
        assert_eq!(
            hosts.mirrors.iter().map(shown).collect::<Vec<_>>(),
            [
                "https://second.example:5000/cache mirror no-resolve ca=/d/ca.pem",
                "http://first.example mirror unverified",
                "https://odd.example mirror ca=/a ca=/d/b",
                "https://plain.example mirror",
            ]
        );
    }

    #[test]
    fn what_is_not_done_is_refused() {
        for (text, want) in [
            ("[host.\"https://a\"]\nheader = {}", "header is not supported here"),
            ("[host.\"https://a\"]\nclient = \"x\"", "client is not supported here"),
            ("[host.\"https://a/x\"]\noverride_path = true", "does not end in /v2"),
            ("[host.\"ftp://a\"]", "begins with neither"),
            ("server = 1", "server is no text"),
            ("x", "expected"),
        ] {
            let error = parse(text, Path::new("/")).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn the_registrys_own_file_before_that_of_all() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("none"), dir.path().to_owned()];
        assert_eq!(read(&dirs, "docker.io").unwrap(), None);
        for (name, host) in [("_default", "any"), ("r.io:5000", "own"), ("q.io_80_", "scored")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("hosts.toml"), format!("[host.\"http://{host}\"]")).unwrap();
        }
        for (registry, want) in [("r.io:5000", "own"), ("q.io:80", "scored"), ("docker.io", "any")] {
            assert_eq!(read(&dirs, registry).unwrap().unwrap().mirrors[0].host, want);
        }
        fs::write(dir.path().join("_default/hosts.toml"), "[").unwrap();
        let error = read(&dirs, "docker.io").unwrap_err().to_string();
        assert!(error.contains("_default/hosts.toml"), "{error}");
    }
}
