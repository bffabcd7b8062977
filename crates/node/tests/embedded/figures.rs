//! Not tests but figures: `cargo nextest run -p node --test embedded figures --run-ignored all --no-capture`.

use std::time::Instant;

use node::runtime::{ContainerConfig, Runtime as _};

use crate::fixture::{PATIENCE, shims_in, world};

/// Pods and containers measured.
const ROUNDS: u32 = 20;

#[tokio::test]
#[ignore = "prints figures"]
async fn figures() {
    let Some(world) = world("figures").await else { return };
    let mut times = [const { Vec::new() }; 5];
    let mut sandboxes = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let sandbox = world.sandbox().await;
        times[0].push(begin.elapsed());
        let begin = Instant::now();
        let id = world.runtime.create_container(&sandbox, world.container("sleep 1000")).await.unwrap();
        times[1].push(begin.elapsed());
        let begin = Instant::now();
        world.runtime.start_container(&id).await.unwrap();
        times[2].push(begin.elapsed());
        let begin = Instant::now();
        world.runtime.exec_sync(&id, vec!["true".to_owned()], PATIENCE).await.unwrap();
        times[3].push(begin.elapsed());
        sandboxes.push(sandbox);
    }
    let config = ContainerConfig { name: "second".to_owned(), ..world.container("seq 1 100000; sleep 1000") };
    let id = world.start(&sandboxes[0], config).await;
    world.wait_for_line(&id, "100000").await;
    for shim in shims_in(&world.options.run_dir.display().to_string()).iter().take(3) {
        let status = std::fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
        let lines = status.lines().filter(|line| line.starts_with("Rss") || line.starts_with("VmRSS"));
        let pss = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap_or_default();
        let pss = pss.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default().to_owned();
        println!("shim {shim}: {} {pss}", lines.collect::<Vec<_>>().join(" "));
    }
    for sandbox in &sandboxes {
        let begin = Instant::now();
        world.runtime.remove_pod_sandbox(sandbox).await.unwrap();
        times[4].push(begin.elapsed());
    }
    for (what, times) in ["run sandbox", "create", "start", "exec", "remove pod"].into_iter().zip(&mut times) {
        times.sort();
        println!("{what}: median {:?}, slowest {:?}", times[times.len() / 2], times[times.len() - 1]);
    }
    world.end().await;
}
