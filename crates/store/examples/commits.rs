//! How fast the embedded store commits: `cargo run --release -p store --example commits [DIR]`.
//!
//! Writes 1 KiB values from 1, 50 and 500 tasks at once (each waits for its own commit to be durable), then opens the
//! store again. DIR should be on the disk in question; the default is the working directory.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::embedded::{Embedded, Options};
use store::{Expect, Op, Store};

const VALUE_BYTES: usize = 1024;
/// Tasks at once, and commits in all: a second or two each.
const ROUNDS: [(usize, usize); 3] = [(1, 3_000), (50, 60_000), (500, 100_000)];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let dir = Path::new(&parent).join(format!("commits-bench-{}", std::process::id()));
    for (tasks, commits) in ROUNDS {
        let store = Embedded::open(&dir, Options::default())?;
        let start = Instant::now();
        let running: Vec<_> =
            (0..tasks).map(|task| tokio::spawn(write(store.clone(), task, commits / tasks))).collect();
        let mut times = Vec::new();
        for task in running {
            times.extend(task.await??);
        }
        let took = start.elapsed();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let rate = times.len() as f64 / took.as_secs_f64();
        println!("{tasks:>3} at once: {rate:>8.0} commits/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
        drop(store);
        let start = Instant::now();
        let store = Embedded::open(&dir, Options::default())?;
        let keys = store.list(b"", b"", 1, None).await?.remaining + 1;
        println!("             open with {keys} keys: {:?}, {}", start.elapsed(), memory());
        drop(store);
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

async fn write(store: Embedded, task: usize, commits: usize) -> Result<Vec<Duration>, store::StoreError> {
    let mut times = Vec::with_capacity(commits);
    for number in 0..commits {
        let key = format!("/registry/core/configmaps/ns-{task}/cm-{number}");
        let start = Instant::now();
        store.commit(key.as_bytes(), Expect::Absent, Op::Put(Bytes::from(vec![b'x'; VALUE_BYTES]))).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: unknown");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
