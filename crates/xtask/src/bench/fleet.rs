//! Figures of a fleet: hollow nodes by the thousand, and what DaemonSets on them take.
//!
//! # Invariants
//! - Each phase is checked, not only timed: one pod on each node, the budget at every event of an update, counts that are true.
//!
//! # Absent
//! The nodes' own work is that of agents without containers; it shares the machine with the server.

mod picture;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};

use super::Args;
use super::report::Row;
use crate::load::{Connection, Process, Target, Usage};
use picture::Picture;

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
/// What kubectl asks lists for.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Nodes that lose their label in one phase.
const RELABELLED: usize = 100;
/// How long heartbeats alone are watched.
const QUIET: Duration = Duration::from_secs(20);
/// A phase that takes longer hangs.
const PHASE_MAX: Duration = Duration::from_secs(900);

/// Hollow nodes as a process.
struct Hollow(Child);

impl Hollow {
    fn start(binary: &Path, kubeconfig: &Path, first: usize, nodes: usize, half: bool) -> Result<Hollow> {
        let mut command = Command::new(binary);
        command.arg("hollow").arg("--kubeconfig").arg(kubeconfig);
        command.args(["--first", &first.to_string(), "--nodes", &nodes.to_string(), "--zones", "10"]);
        if half {
            command.args(["--node-labels", "half=yes"]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Hollow(child.with_context(|| binary.display().to_string())?))
    }
}

impl Drop for Hollow {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What each side has used.
#[derive(Clone, Copy)]
struct Used {
    server: Usage,
    hollow: Usage,
    bench: Usage,
}

struct Fleet {
    nodes: usize,
    server: Vec<u32>,
    hollow: Vec<u32>,
    connection: Connection,
    picture: Picture,
    rows: Vec<Row>,
}

/// Measures one size after the other, each on a server of its own unless one is given.
pub(super) async fn all(args: &Args, binary: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for nodes in &args.nodes {
        let (process, kubeconfig) = match &args.kubeconfig {
            Some(kubeconfig) => (None, kubeconfig.clone()),
            None => {
                let (process, _) = Process::start(binary, &args.data_below, true).await?;
                let kubeconfig = process.kubeconfig();
                (Some(process), kubeconfig)
            }
        };
        let target = Target::read(&kubeconfig).await?;
        let server = process.as_ref().map_or_else(|| args.pids.clone(), |process| vec![process.id()]);
        rows.extend(one(*nodes, binary, &kubeconfig, &target, server).await?);
    }
    Ok(rows)
}

async fn one(nodes: usize, binary: &Path, kubeconfig: &Path, target: &Target, server: Vec<u32>) -> Result<Vec<Row>> {
    let half = nodes / 2;
    let picture = Picture::open(target).await?;
    let began = Instant::now();
    let bench = Usage::of(&[std::process::id()]);
    let before = Used { server: Usage::of(&server), hollow: Usage::default(), bench };
    let processes = [
        Hollow::start(binary, kubeconfig, 0, half, true)?,
        Hollow::start(binary, kubeconfig, half, nodes - half, false)?,
    ];
    let connection = Connection::open(target).await?;
    let hollow = processes.iter().map(|p| p.0.id()).collect();
    let mut fleet = Fleet { nodes, server, hollow, connection, picture, rows: Vec::new() };
    fleet.until("nodes Ready", |picture| picture.nodes_ready() == nodes).await?;
    fleet.note("join, until all are Ready and untainted", began, before);
    fleet.apply("all", None, nodes, "apply to all Ready").await?;
    fleet.apply("half", Some("half"), half, "the same with a node selector (half of the nodes)").await?;
    fleet.update("10%", "x:2", "rolling update, maxUnavailable 10 %").await?;
    fleet.update("100%", "x:3", "rolling update, maxUnavailable 100 %").await?;
    fleet.relabel(RELABELLED.min(half), half).await?;
    fleet.list().await?;
    fleet.quiet().await;
    fleet.delete().await?;
    Ok(fleet.rows)
}

fn daemon_set(name: &str, selector: Option<&str>) -> Value {
    let selector = selector.map_or(json!({}), |label| json!({label: "yes"}));
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "nodeSelector": selector, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]}}}})
}

impl Fleet {
    async fn until(&mut self, what: &str, holds: impl FnMut(&mut Picture) -> bool) -> Result<()> {
        let waited = tokio::time::timeout(PHASE_MAX, self.picture.until(holds)).await;
        waited.with_context(|| format!("{what}: not within {PHASE_MAX:?}"))?
    }

    fn usage(&self) -> Used {
        let of = |processes: &[u32]| Usage::of(processes);
        Used { server: of(&self.server), hollow: of(&self.hollow), bench: of(&[std::process::id()]) }
    }

    fn note(&mut self, phase: &str, began: Instant, before: Used) {
        let took = began.elapsed();
        let now = self.usage();
        self.rows.push(Row {
            phase: phase.to_owned(),
            nodes: self.nodes,
            took,
            server_cpu_seconds: now.server.cpu_seconds - before.server.cpu_seconds,
            nodes_cpu_seconds: now.hollow.cpu_seconds - before.hollow.cpu_seconds,
            bench_cpu_seconds: now.bench.cpu_seconds - before.bench.cpu_seconds,
            resident_mib: now.server.resident_mib,
            peak_mib: now.server.peak_mib,
        });
    }

    async fn apply(&mut self, name: &str, selector: Option<&str>, wanted: usize, phase: &str) -> Result<()> {
        let (before, began) = (self.usage(), Instant::now());
        self.connection.ask(Method::POST, SETS, JSON, daemon_set(name, selector).to_string()).await?.done()?;
        self.until(phase, |picture| picture.set(name).available() == wanted).await?;
        self.note(phase, began, before);
        self.settled(name, wanted).await
    }

    /// One pod on each node, and a status that says so.
    async fn settled(&mut self, name: &str, wanted: usize) -> Result<()> {
        self.until("one pod a node", |picture| picture.set(name).is_one_each()).await?;
        let began = Instant::now();
        loop {
            let set = self.connection.read(&format!("{SETS}/{name}"), JSON).await?.json()?;
            let counts = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable"];
            let told = counts.map(|count| set["status"][count].as_u64().unwrap_or_default());
            let updated = set["status"]["updatedNumberScheduled"].as_u64().unwrap_or_default();
            if told.iter().chain([&updated]).all(|count| *count == wanted as u64)
                && set["status"]["observedGeneration"] == set["metadata"]["generation"]
            {
                return Ok(());
            }
            ensure!(began.elapsed() < PHASE_MAX, "{name}: the status stays {}", set["status"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn update(&mut self, budget: &str, image: &str, phase: &str) -> Result<()> {
        let nodes = self.nodes;
        self.picture.mark("all");
        let (before, began) = (self.usage(), Instant::now());
        let patch = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": budget}},
            "template": {"spec": {"containers": [{"name": "c", "image": image,
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]}}}});
        self.connection.ask(Method::PATCH, &format!("{SETS}/all"), MERGE, patch.to_string()).await?.done()?;
        self.until(phase, |picture| picture.set("all").of_image(image) == nodes).await?;
        self.note(phase, began, before);
        let percent: usize = budget.trim_end_matches('%').parse()?;
        let (fewest, allowed) = (self.picture.set("all").fewest, (nodes * percent).div_ceil(100));
        ensure!(nodes - fewest <= allowed, "{} daemons were away at once, {allowed} may be", nodes - fewest);
        self.settled("all", nodes).await
    }

    async fn relabel(&mut self, count: usize, half: usize) -> Result<()> {
        let (before, began) = (self.usage(), Instant::now());
        for number in 0..count {
            let (path, patch) =
                (format!("/api/v1/nodes/hollow-{number}"), json!({"metadata": {"labels": {"half": null}}}));
            self.connection.ask(Method::PATCH, &path, MERGE, patch.to_string()).await?.done()?;
        }
        self.until("unlabelled nodes", |picture| picture.set("half").pods == half - count).await?;
        self.note(&format!("unlabel {count} nodes to pods gone"), began, before);
        self.settled("half", half - count).await
    }

    async fn list(&mut self) -> Result<()> {
        let (before, began) = (self.usage(), Instant::now());
        let path = "/api/v1/namespaces/default/pods?labelSelector=app%3Dall&limit=500";
        let (mut shown, mut next) = (0, String::new());
        loop {
            let page = self.connection.read(&format!("{path}{next}"), TABLE).await?.json()?;
            shown += page["rows"].as_array().map_or(0, Vec::len);
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={token}"),
                None => break,
            }
        }
        ensure!(shown == self.nodes, "the list has {shown} pods of {}", self.nodes);
        self.note("list pods by label as kubectl does", began, before);
        Ok(())
    }

    /// Heartbeats alone.
    async fn quiet(&mut self) {
        let (before, began) = (self.usage(), Instant::now());
        tokio::time::sleep(QUIET).await;
        self.note(&format!("heartbeats alone, {} s", QUIET.as_secs()), began, before);
    }

    async fn delete(&mut self) -> Result<()> {
        let (before, began) = (self.usage(), Instant::now());
        for name in ["all", "half"] {
            self.connection.ask(Method::DELETE, &format!("{SETS}/{name}"), JSON, "").await?.done()?;
        }
        self.until("pods gone", |p| p.set("all").pods == 0 && p.set("half").pods == 0).await?;
        self.note("delete both to no pods", began, before);
        Ok(())
    }
}
