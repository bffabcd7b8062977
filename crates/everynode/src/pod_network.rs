//! Flags of the pods' network, and the network they ask for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use node::network::{CniOptions, Mode, Network, Options};

/// Name of a node's bridge for its pods.
const BRIDGE: &str = "everynode0";
/// Where CNI configurations are.
const CONFIG_DIR: &str = "/etc/cni/net.d";
/// Where plugins are: the usual place, and that of Debian's package.
const BIN_DIRS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

/// Who makes the pods' network.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct NetworkArgs {
    /// Who makes the network of pods: cni (plugins, as a configuration in --cni-conf-dir says), builtin (a bridge), or auto
    /// (cni where there is a configuration, else builtin) [default: auto; of `up`: builtin]
    #[arg(long, value_name = "WHO")]
    pod_network: Option<Mode>,
    /// Directory of CNI configurations [default: /etc/cni/net.d]
    #[arg(long, value_name = "DIR")]
    cni_conf_dir: Option<PathBuf>,
    /// Directory of CNI plugins (repeat or separate with commas) [default: /opt/cni/bin,/usr/lib/cni]
    #[arg(long = "cni-bin-dir", value_name = "DIR", value_delimiter = ',')]
    cni_bin_dirs: Vec<PathBuf>,
}

impl NetworkArgs {
    /// The same where nobody said who makes it: several nodes that share a machine have no use for the machine's own CNI.
    pub(crate) fn or_builtin(self) -> Self {
        Self { pod_network: self.pod_network.or(Some(Mode::Builtin)), ..self }
    }

    /// The flags again, for a process that is started.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
        if let Some(mode) = self.pod_network {
            flag("--pod-network", mode.to_string());
        }
        if let Some(dir) = &self.cni_conf_dir {
            flag("--cni-conf-dir", dir.display().to_string());
        }
        for dir in &self.cni_bin_dirs {
            flag("--cni-bin-dir", dir.display().to_string());
        }
        words
    }

    /// The network of a node whose own directories are these.
    pub(crate) fn open(&self, pod_cidr: &str, run_dir: &Path, node_dir: &Path) -> Result<Network> {
        let wrong = || format!("--pod-cidr {pod_cidr}: write CIDR of IPv4, or CIDR,CIDR6");
        let (four, six) = pod_cidr.split_once(',').map_or((pod_cidr, None), |(four, six)| (four, Some(six)));
        let bridge = Options {
            bridge: BRIDGE.into(),
            pod_cidr: four.parse().with_context(wrong)?,
            pod_cidr6: six.map(str::parse).transpose().with_context(wrong)?,
            state_dir: run_dir.join("network"),
        };
        let own = &self.cni_bin_dirs;
        let cni = CniOptions {
            mode: self.pod_network.unwrap_or_default(),
            config_dir: self.cni_conf_dir.clone().unwrap_or_else(|| CONFIG_DIR.into()),
            bin_dirs: if own.is_empty() { BIN_DIRS.map(PathBuf::from).to_vec() } else { own.clone() },
            cache_dir: node_dir.join("cni"),
        };
        Ok(Network::new(bridge, cni)?)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: NetworkArgs,
    }

    #[test]
    fn flags_are_passed_on() {
        let words = ["--pod-network", "cni", "--cni-conf-dir", "/c", "--cni-bin-dir", "/a", "--cni-bin-dir", "/b"];
        let cli = Cli::try_parse_from(std::iter::once("x").chain(words)).unwrap();
        assert_eq!(cli.args.clone().or_builtin().words(), words);
        assert_eq!(NetworkArgs::default().or_builtin().words(), ["--pod-network", "builtin"]);
        assert!(Cli::try_parse_from(["x", "--pod-network", "vpn"]).is_err());
    }

    #[test]
    fn ranges_of_both_families() {
        let dir = tempfile::tempdir().unwrap();
        let open = |cidr: &str| NetworkArgs::default().open(cidr, &dir.path().join("run"), dir.path());
        open("10.1.0.0/24").unwrap();
        open("10.1.0.0/24,fd00:1::/64").unwrap();
        for wrong in ["fd00:1::/64", "10.1.0.0/24,10.2.0.0/24", "10.1.0.0"] {
            let error = open(wrong).unwrap_err().to_string();
            assert!(error.contains("write CIDR of IPv4, or CIDR,CIDR6"), "{wrong}: {error}");
        }
    }
}
