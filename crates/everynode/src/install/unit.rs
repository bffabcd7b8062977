//! The systemd unit of an agent or a server, as text.
//!
//! # Invariants
//! - Stopping the unit ends our process alone (`KillMode=process`): pods belong to shims, which nothing of systemd's may end.
//! - What is written can be read back: `uninstall` finds the data directory in it.
//!
//! # Absent
//! I/O.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a unit runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// A node
    Agent,
    /// The control plane
    Server,
}

impl Part {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Agent, Self::Server];

    /// The command of everynode.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Server => "server",
        }
    }

    /// The unit's name.
    pub(crate) fn unit(self) -> String {
        format!("everynode-{}.service", self.command())
    }
}

/// What a unit is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit {
    pub(crate) part: Part,
    pub(crate) binary: PathBuf,
    /// The binary was put there for the unit, and goes with it.
    pub(crate) copied: bool,
    pub(crate) data_dir: PathBuf,
    pub(crate) flags: Vec<String>,
}

impl Unit {
    /// The unit file.
    pub(crate) fn render(&self) -> String {
        let (what, settings) = match self.part {
            Part::Agent => {
                ("a node that runs DaemonSets", "# The last to go when memory is short.\nOOMScoreAdjust=-999\n")
            }
            Part::Server => ("Kubernetes' API for DaemonSets", ""),
        };
        let words = [self.binary.display().to_string(), self.part.command().to_owned()];
        let line: Vec<String> = words.iter().chain(&self.flags).map(|word| quote(word)).collect();
        let mut text = format!(
            "[Unit]\nDescription=everynode {}: {what}\nWants=network-online.target\nAfter=network-online.target\n\
             StartLimitIntervalSec=0\n\n[Service]\nExecStart={}\nRestart=always\nRestartSec=2\n# Pods belong to shims: neither a \
             stop nor a restart of this unit ends them.\nKillMode=process\nDelegate=yes\nOOMPolicy=continue\n{settings}\
             LimitNOFILE=1048576\nTasksMax=infinity\n\n[Install]\nWantedBy=multi-user.target\n\n[X-Everynode]\n",
            self.part.command(),
            line.join(" ")
        );
        let _ = writeln!(text, "DataDir={}", self.data_dir.display());
        if self.copied {
            let _ = writeln!(text, "Copied={}", self.binary.display());
        }
        text
    }
}

/// What `uninstall` has to know of a unit.
#[derive(Debug, PartialEq, Default)]
pub(crate) struct Installed {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) copied: Option<PathBuf>,
}

impl Installed {
    /// Reads a unit file.
    pub(crate) fn read(text: &str) -> Self {
        let own = text.split("[X-Everynode]\n").nth(1).unwrap_or_default();
        let value = |key: &str| own.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let path = |key: &str| value(key).map(Path::new).filter(|p| p.is_absolute()).map(Path::to_owned);
        Self { data_dir: path("DataDir"), copied: path("Copied") }
    }
}

/// A word as systemd reads it in ExecStart.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+[]<>".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Specifiers and variables.
            '%' | '$' => quoted.extend([c, c]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(c),
        }
    }
    quoted + "\""
}

/// The flags without `--token` and its value, which is needed once and is a secret.
pub(crate) fn without_token(flags: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    let mut words = flags.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--token" => drop(words.next()),
            _ if word.starts_with("--token=") => {}
            _ => left.push(word.clone()),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(flags: &[&str]) -> Unit {
        Unit {
            part: Part::Agent,
            binary: "/usr/local/bin/everynode".into(),
            copied: true,
            data_dir: "/var/lib/everynode".into(),
            flags: flags.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn stopping_it_stops_no_pod() {
        let text = unit(&["--server", "https://a:1"]).render();
        for line in ["KillMode=process", "Delegate=yes", "Restart=always", "OOMPolicy=continue"] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.contains("\nExecStart=/usr/local/bin/everynode agent --server https://a:1\n"), "{text}");
    }

    #[test]
    fn it_can_be_read_back() {
        let mut unit = unit(&[]);
        let installed = |data: &str, copied: Option<&str>| Installed {
            data_dir: Some(data.into()),
            copied: copied.map(PathBuf::from),
        };
        assert_eq!(Installed::read(&unit.render()), installed("/var/lib/everynode", Some("/usr/local/bin/everynode")));
        unit.copied = false;
        assert_eq!(Installed::read(&unit.render()), installed("/var/lib/everynode", None));
        assert_eq!(Installed::read("[Service]\nDataDir=/etc\n"), Installed::default(), "somebody else's unit");
        assert_eq!(Installed::read("[X-Everynode]\nDataDir=etc\n"), Installed::default());
    }

    #[test]
    fn words_reach_the_command_as_they_are() {
        for (word, want) in [
            ("--node-labels=a=b", "--node-labels=a=b"),
            ("memory.available<100Mi", "memory.available<100Mi"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("50%", "\"50%%\""),
            ("$HOME", "\"$$HOME\""),
            ("say \"x\\y\"", "\"say \\\"x\\\\y\\\"\""),
            ("a;b", "\"a;b\""),
        ] {
            assert_eq!(quote(word), want);
        }
    }

    #[test]
    fn the_token_does_not_stay() {
        for flags in [&["--token", "t", "--server", "s"][..], &["--server", "s", "--token=t"], &["--server", "s"]] {
            let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
            assert_eq!(without_token(&flags), ["--server", "s"]);
        }
    }
}
