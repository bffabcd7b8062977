//! From where the images of a registry are pulled: its mirrors in order, then itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::credentials::Keyring;
use super::error::StoreError;
use super::hosts;
use super::name::Name;
use crate::runtime::RegistryAuth;

/// Stands for every registry in [`RegistryConfig::mirrors`].
const ANY_REGISTRY: &str = "*";

/// Mirrors and plain http, as the user configured them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Registry ("docker.io", or "*" for any) -> URLs to try first, in order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registries (host or host:port) to speak plain http with. Those on the loopback always are.
    pub insecure: BTreeSet<String>,
    /// Directories of `REGISTRY/hosts.toml`, read for each pull.
    pub dirs: Vec<PathBuf>,
    /// Docker configurations with secrets for mirrors.
    pub credentials: Vec<PathBuf>,
}

/// One server that may have an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// host or host:port.
    pub(crate) host: String,
    pub(crate) plain_http: bool,
    /// Not the registry itself, so none of the user's secrets are for it.
    pub(crate) mirror: bool,
    /// Images may be had from it.
    pub(crate) pull: bool,
    /// It may say what a tag means.
    pub(crate) resolve: bool,
    /// More authorities that its certificate may be from.
    pub(crate) ca: Vec<PathBuf>,
    /// Any certificate will do.
    pub(crate) skip_verify: bool,
}

impl Endpoint {
    fn new(host: &str, plain_http: bool, mirror: bool) -> Self {
        let (pull, resolve, ca, skip_verify) = (true, true, Vec::new(), false);
        Self { host: host.to_owned(), plain_http, mirror, pull, resolve, ca, skip_verify }
    }
}

impl RegistryConfig {
    /// Reads the flags `--registry-mirror REGISTRY=URL` and `--insecure-registry HOST[:PORT]`.
    ///
    /// # Errors
    /// [`StoreError::Content`] with what is wrong.
    pub fn parse(mirrors: &[String], insecure: &[String]) -> Result<Self, StoreError> {
        let mut config = Self::default();
        for flag in mirrors {
            let what = format!("--registry-mirror {flag}");
            let (registry, url) =
                flag.split_once('=').filter(|(registry, _)| !registry.is_empty()).ok_or_else(|| {
                    StoreError::content(&what, "write REGISTRY=URL, like docker.io=http://127.0.0.1:5000")
                })?;
            split_url(url).map_err(|cause| StoreError::content(&what, cause))?;
            config.mirrors.entry(registry.to_owned()).or_default().push(url.to_owned());
        }
        for host in insecure {
            if host.is_empty() || host.contains('/') {
                let what = format!("--insecure-registry {host}");
                return Err(StoreError::content(what, "write HOST or HOST:PORT"));
            }
            config.insecure.insert(host.clone());
        }
        Ok(config)
    }

    /// Where to look for an image, in order.
    pub(crate) fn endpoints(&self, name: &Name) -> Result<Vec<Endpoint>, StoreError> {
        let registry = name.registry();
        let mut endpoints = Vec::new();
        let urls = self.mirrors.get(registry).or_else(|| self.mirrors.get(ANY_REGISTRY));
        for url in urls.into_iter().flatten() {
            let (plain_http, host) = split_url(url).map_err(|cause| StoreError::content(url, cause))?;
            endpoints.push(Endpoint::new(host, plain_http, true));
        }
        let plain_http = self.insecure.contains(registry) || is_loopback(registry);
        let itself = Endpoint::new(name.reference().resolve_registry(), plain_http, false);
        let hosts = hosts::read(&self.dirs, registry)?.unwrap_or_default();
        endpoints.extend(hosts.mirrors);
        endpoints.push(hosts.server.unwrap_or(itself));
        // Whoever may not say what a tag means is asked for digests alone.
        let by_digest = name.reference().digest().is_some();
        endpoints.retain(|endpoint| endpoint.pull && (endpoint.resolve || by_digest));
        Ok(endpoints)
    }

    /// Who may pull from a mirror: by the node's own files, never by the user's secrets.
    pub(crate) fn mirror_auth(&self, endpoint: &Endpoint) -> Option<RegistryAuth> {
        let mut keyring = Keyring::default();
        keyring.add_files(&self.credentials);
        keyring.matching(&endpoint.host).into_iter().next()
    }
}

/// Whether plain http, and the host.
pub(super) fn split_url(url: &str) -> Result<(bool, &str), String> {
    let (plain_http, rest) = match url.split_once("://") {
        Some(("http", rest)) => (true, rest),
        Some(("https", rest)) => (false, rest),
        _ => return Err(format!("{url:?} begins with neither http:// nor https://")),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.is_empty() || host.starts_with('/') || host.contains(['?', '#', '@', ' ']) {
        return Err(format!("{url:?} is more than a host, a port and a path"));
    }
    Ok((plain_http, host))
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn mirrors_come_first_and_loopback_is_plain() {
        let flags = ["docker.io=http://127.0.0.1:5000", "docker.io=https://mirror.example/", "*=http://any:1"];
        let config = RegistryConfig::parse(&strings(&flags), &strings(&["plain.example:80"])).unwrap();
        for (image, want) in [
            ("busybox", "http://127.0.0.1:5000 m, https://mirror.example m, https://index.docker.io"),
            ("quay.io/a/b", "http://any:1 m, https://quay.io"),
            ("plain.example:80/a", "http://any:1 m, http://plain.example:80"),
            ("localhost/a", "http://any:1 m, http://localhost"),
            ("localhost:5000/a", "http://any:1 m, http://localhost:5000"),
            ("127.0.0.9:5000/a", "http://any:1 m, http://127.0.0.9:5000"),
        ] {
            let endpoints = config.endpoints(&Name::parse(image).unwrap()).unwrap();
            let got: Vec<String> = endpoints
                .iter()
                .map(|one| {
                    let scheme = if one.plain_http { "http" } else { "https" };
                    format!("{scheme}://{}{}", one.host, if one.mirror { " m" } else { "" })
                })
                .collect();
            assert_eq!(got.join(", "), want, "{image}");
        }
    }

    #[test]
    fn wrong_flags_are_refused() {
        for (mirror, want) in [
            ("docker.io", "write REGISTRY=URL"),
            ("=http://x", "write REGISTRY=URL"),
            ("docker.io=127.0.0.1:5000", "begins with neither http:// nor https://"),
            ("docker.io=http://x?y", "is more than a host, a port and a path"),
            ("docker.io=http://user@x", "is more than a host, a port and a path"),
        ] {
            let error = RegistryConfig::parse(&strings(&[mirror]), &[]).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        assert!(RegistryConfig::parse(&[], &strings(&["http://x"])).is_err());
    }
}
