//! Who may pull an image: entries of Docker configurations, from Secrets and from files of the node.
//!
//! # Invariants
//! The entry that says most about where the image is comes first, as in the kubelet; all that fit are tried.

use std::path::PathBuf;

use base64::Engine as _;
use serde_json::Value;

use crate::runtime::RegistryAuth;

/// Most bytes of a file with credentials.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Entries that are tried for one image at most: each is a request to the registry.
const TRIED_MAX: usize = 10;

/// An entry of a Docker configuration.
#[derive(Debug)]
struct Entry {
    host: String,
    path: String,
    auth: RegistryAuth,
}

/// Entries of several Docker configurations.
#[derive(Debug, Default)]
pub(crate) struct Keyring(Vec<Entry>);

impl Keyring {
    /// Adds what a `.dockerconfigjson` or `.dockercfg` holds. What can't be read is passed over: the image may be public.
    pub(crate) fn add(&mut self, config: &[u8]) {
        let Ok(config) = serde_json::from_slice::<Value>(config) else { return };
        let Some(entries) = config.get("auths").unwrap_or(&config).as_object() else { return };
        for (key, entry) in entries {
            let Some(auth) = auth_of(entry) else { continue };
            let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
            let (host, path) = key.split_once('/').unwrap_or((key, ""));
            // Keys of Docker's own registry name its API: they are for all of it.
            let (host, path) = match host {
                "index.docker.io" | "registry-1.docker.io" | "docker.io" => ("docker.io", ""),
                _ => (host, path.trim_start_matches("v1").trim_start_matches("v2").trim_start_matches('/')),
            };
            self.0.push(Entry { host: host.to_owned(), path: path.to_owned(), auth });
        }
    }

    /// Adds the files that are there.
    pub(crate) fn add_files(&mut self, files: &[PathBuf]) {
        use std::io::Read as _;
        for path in files {
            let mut bytes = Vec::new();
            let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
            if read.is_ok() {
                self.add(&bytes);
            }
        }
    }

    /// Those for a repository (`REGISTRY/PATH`), the most particular first.
    pub(crate) fn matching(&self, repository: &str) -> Vec<RegistryAuth> {
        let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
        let mut found: Vec<&Entry> =
            self.0.iter().filter(|e| host_fits(&e.host, host) && path_fits(&e.path, path)).collect();
        found.sort_by_key(|entry| std::cmp::Reverse((entry.path.len(), entry.host.len())));
        let mut all: Vec<RegistryAuth> = Vec::new();
        for entry in found {
            if !all.contains(&entry.auth) && all.len() < TRIED_MAX {
                all.push(entry.auth.clone());
            }
        }
        all
    }
}

fn auth_of(entry: &Value) -> Option<RegistryAuth> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some(RegistryAuth { username, password });
    }
    if let Some(token) = text("registrytoken") {
        return Some(RegistryAuth { username: String::new(), password: token });
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text("auth")?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(RegistryAuth { username: username.to_owned(), password: password.to_owned() })
}

/// Whether a host is meant; `*` stands for one label, or a part of one.
fn host_fits(pattern: &str, host: &str) -> bool {
    let port = |text: &str| text.rsplit_once(':').map(|(_, port)| port.to_owned());
    if port(pattern) != port(host) {
        return false;
    }
    let labels =
        |text: &str| text.split(':').next().unwrap_or_default().split('.').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, host) = (labels(pattern), labels(host));
    pattern.len() == host.len() && pattern.iter().zip(&host).all(|(pattern, label)| label_fits(pattern, label))
}

fn label_fits(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((before, after)) => {
            label.len() >= before.len() + after.len() && label.starts_with(before) && label.ends_with(after)
        }
    }
}

fn path_fits(prefix: &str, path: &str) -> bool {
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"aHViOmh1Yg=="},
        "r.io:5000":{"username":"whole","password":"p"},
        "r.io:5000/team":{"username":"team","password":"p"},
        "r.io:5000/team/app":{"username":"app","password":"p"},
        "*.cloud.io":{"username":"any","password":"p"},
        "token.io":{"registrytoken":"t"},
        "empty.io":{}}}"#;

    #[test]
    fn the_most_particular_comes_first() {
        let mut keyring = Keyring::default();
        keyring.add(CONFIG.as_bytes());
        keyring.add(b"not json");
        keyring.add(br#"{"old.io":{"auth":"b2xkOnA="}}"#);
        for (repository, expect) in [
            ("docker.io/library/nginx", "hub"),
            ("r.io:5000/team/app", "app team whole"),
            ("r.io:5000/team/app/x", "app team whole"),
            ("r.io:5000/teams/app", "whole"),
            ("r.io/team", ""),
            ("eu.cloud.io/x", "any"),
            ("a.eu.cloud.io/x", ""),
            ("old.io/x", "old"),
            ("empty.io/x", ""),
        ] {
            let names: Vec<String> = keyring.matching(repository).into_iter().map(|auth| auth.username).collect();
            assert_eq!(names.join(" "), expect, "{repository}");
        }
        let token = keyring.matching("token.io/x");
        assert_eq!((token[0].username.as_str(), token[0].password.as_str()), ("", "t"));
    }

    #[test]
    fn files_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let (there, gone) = (dir.path().join("config.json"), dir.path().join("gone"));
        std::fs::write(&there, CONFIG).unwrap();
        let mut keyring = Keyring::default();
        keyring.add_files(&[gone, there]);
        assert_eq!(keyring.matching("docker.io/x/y")[0].password, "hub");
    }
}
