//! The command line: every flag with its default and unit.
//!
//! # Absent
//! Behaviour: each command has a file of its own.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::join::address::Address;
use crate::join::token::JoinToken;

/// Where everything of one machine lies unless told otherwise.
pub(crate) const DATA_DIR: &str = "/var/lib/everynode";

/// Kubernetes DaemonSets as one binary.
#[derive(Parser)]
#[command(name = "everynode", version, about, long_about = None)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) globals: cli::GlobalArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the main job on this machine, offline: three nodes, a daemon on each, a fourth node, a rolling update
    Demo(DemoArgs),
    /// Start a control plane and nodes on this machine
    Up(UpArgs),
    /// Stop and remove all that `up` made, daemons and data included
    Down(DownArgs),
    /// Run the control plane: API server, store, controllers and scheduler
    Server(ServerArgs),
    /// Run one node: registers it and runs its pods
    Agent(Box<AgentArgs>),
    /// Make, list and delete the tokens by which machines join
    Token(crate::token::TokenArgs),
    /// Run an agent or a server as a systemd unit, from now on and at every boot
    Install(crate::install::InstallArgs),
    /// Stop and remove units, pods, networks and data of this machine
    Uninstall(crate::uninstall::UninstallArgs),
    /// Run the controllers and the scheduler against any Kubernetes API server
    Controller(ControllerArgs),
    /// Play many nodes that start no containers, against any Kubernetes API server: to try and measure fleets
    Hollow(HollowArgs),
    /// Load, list and remove images of this machine
    Image(ImageArgs),
    /// The daemon in the built-in image: prints what is appended to the log files of its node
    #[command(hide = true)]
    TailLogs(TailLogsArgs),
    #[command(flatten)]
    Kubectl(Box<cli::Command>),
}

#[derive(Args)]
pub(crate) struct DataDir {
    /// Directory for everything that is kept
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Address and port to serve the Kubernetes API on
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:6443")]
    pub(crate) listen: SocketAddr,
    /// More names or addresses for the serving certificate (repeat or separate with commas)
    #[arg(long = "tls-san", value_name = "NAME", value_delimiter = ',')]
    pub(crate) tls_sans: Vec<String>,
    /// Bearer tokens: lines of token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// How long events are kept after they were last written; 0 keeps them for good
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = cli::parse_duration)]
    pub(crate) event_ttl: Duration,
    /// How long a node's certificate is good for, at most; nodes renew it before that
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = node_certificate_ttl)]
    pub(crate) node_certificate_ttl: Duration,
    /// Addresses for Services
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: server::ServiceRange,
    /// Where objects are kept: in the data directory, or in an etcd that several servers may share
    /// (etcd://HOST:PORT,HOST:PORT[/PREFIX], etcds:// over TLS)
    #[arg(long, value_name = "URL", default_value = "embedded")]
    pub(crate) store: String,
    /// Authority of etcd's certificates
    #[arg(long, value_name = "FILE")]
    pub(crate) store_ca: Option<PathBuf>,
    /// Certificate to show to etcd
    #[arg(long, value_name = "FILE")]
    pub(crate) store_cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) store_key: Option<PathBuf>,
    /// Serve the API only, without controllers and scheduler
    #[arg(long)]
    pub(crate) no_controllers: bool,
    #[command(flatten)]
    pub(crate) nodes: NodeMonitorArgs,
}

/// How nodes are watched over.
#[derive(Args)]
pub(crate) struct NodeMonitorArgs {
    /// How long a node may be silent before it counts as unreachable, 15s or more: it is heard of every 10 seconds
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = node_monitor_grace)]
    node_monitor_grace_period: Duration,
}

impl NodeMonitorArgs {
    pub(crate) fn grace(&self) -> decide::node_health::Grace {
        decide::node_health::Grace(i64::try_from(self.node_monitor_grace_period.as_secs()).unwrap_or(i64::MAX))
    }
}

#[derive(Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Address of the server, https://HOST:PORT (repeat or separate with commas: the next is asked when one is gone)
    #[arg(id = "agent-server", long = "server", value_name = "URL", value_delimiter = ',')]
    pub(crate) servers: Vec<Address>,
    /// Join by this token of `everynode token create`; needed once
    #[arg(id = "agent-token", long = "token", value_name = "TOKEN")]
    pub(crate) token: Option<JoinToken>,
    /// Reach the server by this file instead
    #[arg(id = "agent-kubeconfig", long = "kubeconfig", value_name = "FILE",
        conflicts_with_all = ["agent-server", "agent-token"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Name of the node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Address of the node [default: that of the route to the server]
    #[arg(long, value_name = "ADDR")]
    pub(crate) node_ip: Option<IpAddr>,
    /// Labels of the node (key=value, repeat or separate with commas)
    #[arg(long = "node-labels", value_name = "LABELS", value_delimiter = ',')]
    pub(crate) node_labels: Vec<String>,
    /// Addresses for pods of this node [default: 10.42.0.0/24]; IPv6 too with CIDR,CIDR6
    #[arg(long, value_name = "CIDR[,CIDR6]")]
    pub(crate) pod_cidr: Option<String>,
    #[command(flatten)]
    pub(crate) registries: crate::registries::RegistryArgs,
    #[command(flatten)]
    pub(crate) network: crate::pod_network::NetworkArgs,
    /// Who runs the containers: embedded, unix:///run/containerd/containerd.sock of containerd or CRI-O, or auto for the
    /// first of them that is here
    #[arg(long, value_name = "ENDPOINT", default_value = "embedded")]
    pub(crate) container_runtime_endpoint: node::runtime::cri::Endpoint,
    #[command(flatten)]
    pub(crate) limits: crate::limits::LimitArgs,
    /// Run the pods of the files in this directory (*.yaml, *.yml, *.json), with or without a server
    #[arg(long, value_name = "DIR")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    /// Live in this network namespace
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) netns: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ControllerArgs {
    /// How to reach the API server
    #[arg(id = "controller-kubeconfig", long = "kubeconfig", value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// Which controllers run, by the names that kube-controller-manager has for them (daemonset or daemonset-controller):
    /// * for all, NAME for one, -NAME to leave one out, with commas between them
    #[arg(long, value_name = "NAMES", default_value = "*", allow_hyphen_values = true)]
    pub(crate) controllers: control::Roster,
    /// Run only while this process holds a Lease in kube-system, so that two of them are safe
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) leader_elect: bool,
    /// Name of that Lease: processes that run different controllers need one each
    #[arg(long, value_name = "NAME", default_value = control::LEASE)]
    pub(crate) leader_elect_resource_name: String,
    /// Change nothing: watch the DaemonSet controller that runs elsewhere, and print each decision that ours would have
    /// made otherwise
    #[arg(long)]
    pub(crate) shadow: bool,
    /// With --shadow: how long a difference must last to count
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = cli::parse_duration, requires = "shadow")]
    pub(crate) patience: Duration,
    /// With --shadow: json prints an object a line
    #[arg(id = "shadow-output", long = "output", short = 'o', value_name = "FORMAT", requires = "shadow")]
    pub(crate) output: Option<ShadowOutput>,
    #[command(flatten)]
    pub(crate) nodes: NodeMonitorArgs,
}

/// How a shadow prints.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum ShadowOutput {
    Json,
}

#[derive(Args)]
pub(crate) struct HollowArgs {
    /// How to reach the API server, as a user who may do all that nodes do
    #[arg(id = "hollow-kubeconfig", long = "kubeconfig", value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) nodes: u32,
    /// Names of the nodes: this and a number
    #[arg(long, value_name = "PREFIX", default_value = "hollow-")]
    pub(crate) name_prefix: String,
    /// Number of the first node
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) first: u32,
    /// Spread the nodes over this many zones (topology.kubernetes.io/zone=zone-K); 0 for none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) zones: u32,
    /// Labels of every node (key=value, repeat or separate with commas)
    #[arg(id = "hollow-labels", long = "node-labels", value_name = "LABELS", value_delimiter = ',')]
    pub(crate) node_labels: Vec<String>,
    /// A container takes this many milliseconds to start, or between two numbers
    #[arg(long, value_name = "MS[-MS]", default_value = "0", value_parser = milliseconds)]
    pub(crate) start_time: (u64, u64),
    /// Share of the containers' starts that fail, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) failure_rate: f64,
    /// Open a tunnel for each node: exec answers as the hollow runtime does, at the cost of a connection a node
    #[arg(long)]
    pub(crate) tunnels: bool,
    /// Directory for what agents keep of their pods [default: a temporary one, gone at the end]
    #[arg(id = "hollow-data-dir", long = "data-dir", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// The shortest life a node can renew in time.
const NODE_CERTIFICATE_TTL_MIN: Duration = Duration::from_secs(10);

fn node_certificate_ttl(text: &str) -> Result<Duration, String> {
    match cli::parse_duration(text)? {
        ttl if (NODE_CERTIFICATE_TTL_MIN..=server::NODE_CERTIFICATE_TTL).contains(&ttl) => Ok(ttl),
        _ => Err("between 10s and 8760h".to_owned()),
    }
}

/// One heartbeat and half of the next: less would call nodes lost that are well.
const NODE_MONITOR_GRACE_MIN: Duration = Duration::from_secs(15);

fn node_monitor_grace(text: &str) -> Result<Duration, String> {
    match cli::parse_duration(text)? {
        grace if grace >= NODE_MONITOR_GRACE_MIN => Ok(grace),
        _ => Err("15s or more: nodes are heard of every 10 seconds".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<(u64, u64), String> {
    let number = |t: &str| t.parse::<u64>().map_err(|_| format!("{t:?} is no number of milliseconds"));
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?),
    };
    if from <= to { Ok((from, to)) } else { Err(format!("{from} is more than {to}; write the smaller one first")) }
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("a share is between 0 and 1".to_owned()) }
}

#[derive(Args, Clone)]
pub(crate) struct UpArgs {
    /// Directory for everything that is kept
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// How many nodes this machine plays
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) nodes: u8,
    /// Address and port to serve the Kubernetes API on
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:6443")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) registries: crate::registries::RegistryArgs,
    #[command(flatten)]
    pub(crate) network: crate::pod_network::NetworkArgs,
    /// Go to the background once all nodes are Ready
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print times and the memory of each process
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) data: DataDir,
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Leave everything running at the end, and say how to look at it
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Subcommand)]
pub(crate) enum ImageCommand {
    /// Load images from an archive (docker save, OCI layout as tar)
    Load {
        /// The archive
        file: PathBuf,
        #[command(flatten)]
        data: DataDir,
    },
    /// List the images of this machine
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        data: DataDir,
    },
    /// Remove an image
    Rm {
        /// Name with tag, or id
        reference: String,
        #[command(flatten)]
        data: DataDir,
    },
    /// Remove images that no container has
    Prune {
        /// Also those that were loaded from an archive
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        data: DataDir,
    },
}

#[derive(Args)]
pub(crate) struct TailLogsArgs {
    /// Directory whose files are followed
    #[arg(long, value_name = "DIR", default_value = "/var/log")]
    pub(crate) dir: PathBuf,
    /// Leave out files and directories whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "tail-logs")]
    pub(crate) exclude: String,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub(crate) interval: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_milliseconds() {
        for (text, want) in [("5", Some((5, 5))), ("5-9", Some((5, 9))), ("9-5", None), ("x", None), ("1-", None)] {
            assert_eq!(milliseconds(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn lives_of_certificates() {
        for (text, want) in [("20s", Some(20)), ("8760h", Some(31_536_000)), ("9s", None), ("8761h", None), ("x", None)]
        {
            assert_eq!(node_certificate_ttl(text).ok().map(|d| d.as_secs()), want, "{text}");
        }
    }

    #[test]
    fn patience_with_silent_nodes() {
        for (text, want) in [("15s", Some(15)), ("2m", Some(120)), ("14s", None), ("0", None), ("x", None)] {
            assert_eq!(node_monitor_grace(text).ok().map(|d| d.as_secs()), want, "{text}");
        }
        let default = Cli::try_parse_from(["everynode", "server"]).unwrap().command;
        let Command::Server(args) = default else { panic!("server") };
        assert_eq!(args.nodes.grace(), decide::node_health::Grace::default());
    }

    #[test]
    fn an_agent_has_one_way_to_its_server() {
        let parse = |words: &[&str]| Cli::try_parse_from(["everynode", "agent"].iter().chain(words)).is_ok();
        let token = format!("abcdef.0123456789abcdef.sha256:{}", "0".repeat(64));
        assert!(parse(&["--server", "https://a:1,https://b:2", "--token", &token]));
        assert!(!parse(&["--server", "https://a:1", "--kubeconfig", "k"]));
        assert!(!parse(&["--token", &token, "--kubeconfig", "k"]));
        assert!(!parse(&["--server", "a:1"]));
    }

    #[test]
    fn shares() {
        for (text, want) in [("0", Some(0.0)), ("0.5", Some(0.5)), ("1", Some(1.0)), ("1.1", None), ("nan", None)] {
            assert_eq!(share(text).ok(), want, "{text}");
        }
    }
}
