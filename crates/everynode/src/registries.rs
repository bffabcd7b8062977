//! Flags about where images come from.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use node::images::RegistryConfig;

/// Where `REGISTRY/hosts.toml` are looked for.
const CONFIG_DIRS: [&str; 2] = ["/etc/everynode/certs.d", "/etc/containerd/certs.d"];
/// Where a node's own secrets for registries are looked for.
const CREDENTIALS: [&str; 3] =
    ["/etc/everynode/docker.json", "/var/lib/kubelet/config.json", "/root/.docker/config.json"];

/// Where images come from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RegistryArgs {
    /// Where to pull images of a registry from (registry=URL, repeat; http:// is allowed)
    #[arg(long = "registry-mirror", value_name = "REGISTRY=URL")]
    pub(crate) mirrors: Vec<String>,
    /// Directory with REGISTRY/hosts.toml, as of containerd (repeat)
    /// [default: /etc/everynode/certs.d and /etc/containerd/certs.d]
    #[arg(long = "registry-config-dir", value_name = "DIR")]
    pub(crate) config_dirs: Vec<PathBuf>,
    /// Docker's config.json with secrets of registries for all pods (repeat) [default: /etc/everynode/docker.json,
    /// /var/lib/kubelet/config.json and /root/.docker/config.json]
    #[arg(long = "registry-credentials", value_name = "FILE")]
    pub(crate) credentials: Vec<PathBuf>,
}

impl RegistryArgs {
    /// What they say.
    ///
    /// # Errors
    /// When a mirror can't be.
    pub(crate) fn config(&self) -> Result<RegistryConfig> {
        let given = |list: &[PathBuf], usual: &[&str]| -> Vec<PathBuf> {
            if list.is_empty() { usual.iter().map(PathBuf::from).collect() } else { list.to_vec() }
        };
        let mut config = RegistryConfig::parse(&self.mirrors, &[])?;
        config.dirs = given(&self.config_dirs, &CONFIG_DIRS);
        config.credentials = given(&self.credentials, &CREDENTIALS);
        Ok(config)
    }

    /// The flags again, for a process that is started.
    pub(crate) fn words(&self) -> Vec<String> {
        let paths = |name: &'static str, list: &[PathBuf]| -> Vec<String> {
            list.iter().flat_map(|path| [name.to_owned(), path.display().to_string()]).collect()
        };
        let mirrors = self.mirrors.iter().flat_map(|mirror| ["--registry-mirror".to_owned(), mirror.clone()]);
        let dirs = paths("--registry-config-dir", &self.config_dirs);
        mirrors.chain(dirs).chain(paths("--registry-credentials", &self.credentials)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_passed_on_and_have_defaults() {
        let own = RegistryArgs {
            mirrors: vec!["docker.io=http://m".into()],
            config_dirs: vec!["/c".into()],
            credentials: vec!["/a".into(), "/b".into()],
        };
        let want = "--registry-mirror docker.io=http://m --registry-config-dir /c --registry-credentials /a \
                    --registry-credentials /b";
        assert_eq!(own.words().join(" "), want);
        assert_eq!(own.config().unwrap().credentials.len(), 2);
        assert_eq!(RegistryArgs::default().config().unwrap().dirs.len(), 2);
        assert!(RegistryArgs { mirrors: vec!["x".into()], ..own }.config().is_err());
    }
}
