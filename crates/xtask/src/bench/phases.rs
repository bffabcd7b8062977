//! What is measured, one phase after another on the same server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::Args;
use super::report::Figure;
use crate::load::{Connection, Target, Usage};

const JSON: &str = "application/json";
/// What kubectl asks lists for.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const NAMESPACE: &str = "bench";
/// A ConfigMap's JSON is this long.
const CONFIG_MAP_BYTES: usize = 1024;
/// Creates of one client alone: a few seconds on a slow server.
const ALONE: usize = 1000;
/// How often each list is read.
const READS: usize = 5;
/// Watchers of one fan-out, and the changes that each sees.
const WATCHERS: usize = 100;
const CHANGES: usize = 200;

/// One measurement under way.
struct Bench<'a> {
    args: &'a Args,
    target: &'a Target,
    pids: &'a [u32],
    figures: Vec<Figure>,
}

/// Runs every phase that was asked for.
pub(super) async fn all(args: &Args, target: &Target, pids: &[u32]) -> Result<Vec<Figure>> {
    let mut bench = Bench { args, target, pids, figures: Vec::new() };
    let mut connection = Connection::open(target).await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    connection.ask(Method::POST, "/api/v1/namespaces", JSON, namespace.to_string()).await?.done()?;
    if bench.wanted("creates") {
        bench.creates().await?;
    }
    if bench.wanted("alone") {
        bench.creates_alone(&mut connection).await?;
    }
    if bench.wanted("watches") {
        bench.watches().await?;
    }
    if bench.wanted("delete") {
        bench.delete_collection(&mut connection).await?;
    }
    if bench.wanted("lists") {
        bench.lists(&mut connection).await?;
    }
    Ok(bench.figures)
}

fn path(plural: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{plural}")
}

fn config_map(name: &str) -> Bytes {
    let with = |filler: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"bench": "yes"}},
            "data": {"filler": filler}})
        .to_string()
    };
    let bare = with("").len();
    with(&"x".repeat(CONFIG_MAP_BYTES.saturating_sub(bare))).into()
}

fn pod(number: usize) -> Bytes {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "labels": {"app": "a", "pod-template-generation": "1"}},
        "spec": {"schedulerName": "none", "automountServiceAccountToken": false, "containers": [{
            "name": "main", "image": "registry.example/app:v1",
            "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "resources": {"requests": {"cpu": "10m", "memory": "20Mi"}}}]}})
    .to_string()
    .into()
}

impl Bench<'_> {
    fn wanted(&self, phase: &str) -> bool {
        phase.contains(&self.args.only)
    }

    fn note(&mut self, phase: &str, before: Usage, took: Duration, times: Vec<Duration>, count: usize) {
        self.figures.push(Figure::new(phase, took, times, count, before, Usage::of(self.pids)));
    }

    /// Creates `count` objects over all connections; how long each took.
    async fn create(&self, plural: &str, count: usize, body: fn(usize) -> Bytes) -> Result<Vec<Duration>> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..self.args.connections {
            let (mut connection, next, path) = (Connection::open(self.target).await?, next.clone(), path(plural));
            clients.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok::<_, anyhow::Error>(times);
                    }
                    let (body, began) = (body(number), Instant::now());
                    connection.ask(Method::POST, &path, JSON, body).await?.done()?;
                    times.push(began.elapsed());
                }
            });
        }
        let mut times = Vec::with_capacity(count);
        while let Some(client) = clients.join_next().await {
            times.extend(client??);
        }
        Ok(times)
    }

    async fn creates(&mut self) -> Result<()> {
        let (before, began) = (Usage::of(self.pids), Instant::now());
        let times = self.create("configmaps", self.args.objects, |n| config_map(&format!("many-{n}"))).await?;
        let phase = format!("ConfigMap creates, 1 KiB, {} connections", self.args.connections);
        self.note(&phase, before, began.elapsed(), times, self.args.objects);
        Ok(())
    }

    async fn creates_alone(&mut self, connection: &mut Connection) -> Result<()> {
        let (before, began, path) = (Usage::of(self.pids), Instant::now(), path("configmaps"));
        let mut times = Vec::new();
        for number in 0..ALONE {
            let (body, began) = (config_map(&format!("alone-{number}")), Instant::now());
            connection.ask(Method::POST, &path, JSON, body).await?.done()?;
            times.push(began.elapsed());
        }
        self.note("the same, one client alone", before, began.elapsed(), times, ALONE);
        Ok(())
    }

    /// From the writer's request to each watcher's event.
    async fn watches(&mut self) -> Result<()> {
        let mut connection = Connection::open(self.target).await?;
        let path = path("configmaps");
        let listed = connection.read(&format!("{path}?limit=1"), JSON).await?.json()?;
        let revision = listed["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?.to_owned();
        let query = format!("{path}?watch=1&resourceVersion={revision}");
        let (clock, mut watchers) = (Instant::now(), JoinSet::new());
        for _ in 0..WATCHERS {
            let mut lines = Connection::open(self.target).await?.follow(&query).await?;
            watchers.spawn(async move {
                let mut seen = Vec::with_capacity(CHANGES);
                while seen.len() < CHANGES {
                    if lines.next().await?.is_none() {
                        bail!("a watch ended");
                    }
                    seen.push(clock.elapsed());
                }
                Ok(seen)
            });
        }
        let before = Usage::of(self.pids);
        let (began, mut sent) = (Instant::now(), Vec::new());
        for number in 0..CHANGES {
            sent.push(clock.elapsed());
            connection.ask(Method::POST, &path, JSON, config_map(&format!("watched-{number}"))).await?.done()?;
        }
        let mut times = Vec::new();
        while let Some(watcher) = watchers.join_next().await {
            times.extend(watcher??.iter().zip(&sent).map(|(seen, sent)| seen.saturating_sub(*sent)));
        }
        let phase = format!("events to {WATCHERS} watchers, from the writer's request");
        self.note(&phase, before, began.elapsed(), times, WATCHERS * CHANGES);
        Ok(())
    }

    async fn delete_collection(&mut self, connection: &mut Connection) -> Result<()> {
        let listed = connection.read(&path("configmaps"), JSON).await?.json()?;
        let count = listed["items"].as_array().map_or(0, Vec::len);
        let (before, began) = (Usage::of(self.pids), Instant::now());
        connection.ask(Method::DELETE, &path("configmaps"), JSON, "").await?.done()?;
        let took = began.elapsed();
        self.note("deletecollection of ConfigMaps", before, took, vec![took], count);
        Ok(())
    }

    async fn lists(&mut self, connection: &mut Connection) -> Result<()> {
        let (before, began) = (Usage::of(self.pids), Instant::now());
        let times = self.create("pods", self.args.objects, pod).await?;
        self.note("Pod creates", before, began.elapsed(), times, self.args.objects);
        for (what, accept) in [("JSON", JSON), ("table", TABLE)] {
            let (before, began, mut times) = (Usage::of(self.pids), Instant::now(), Vec::new());
            for _ in 0..READS {
                let began = Instant::now();
                connection.read(&path("pods"), accept).await?.done()?;
                times.push(began.elapsed());
            }
            let phase = format!("list of {} Pods, {what}", self.args.objects);
            self.note(&phase, before, began.elapsed(), times, READS);
        }
        Ok(())
    }
}
