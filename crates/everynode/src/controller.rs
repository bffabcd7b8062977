//! `everynode controller`: our controllers and scheduler against any Kubernetes API server, in one process of several, or
//! as the shadow of another DaemonSet controller.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use control::{Controller, Options};
use decide::shadow::Look;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::flags::{ControllerArgs, ShadowOutput};
use crate::{client, logging, signals, small};

/// How often controllers let go of code that they do not run now: as often as a server that has them in it.
const RELEASE_EVERY: Duration = Duration::from_secs(30);

/// Runs until a signal.
pub(crate) fn run(args: &ControllerArgs) -> Result<()> {
    logging::start();
    crate::runtime(2)?.block_on(async {
        let shutdown = signals::shutdown()?;
        let _memory = tokio::spawn(small::stay(RELEASE_EVERY));
        let client = client::client(&args.kubeconfig).await.with_context(|| args.kubeconfig.display().to_string())?;
        if args.shadow {
            return shadow(args, client, shutdown).await;
        }
        let options =
            Options { roster: args.controllers.clone(), node_monitor_grace: args.nodes.grace(), ..Options::default() };
        if args.leader_elect {
            let names = (crate::identity(), args.leader_elect_resource_name.clone());
            control::run_elected(client, options, names, shutdown).await?;
        } else {
            control::run(client, options, shutdown).await?;
        }
        Ok(())
    })
}

/// What a shadow has seen.
#[derive(Default)]
struct Seen {
    made: AtomicUsize,
    ended: AtomicUsize,
    differences: AtomicUsize,
}

/// Prints differences until a signal, and how much was compared at the end.
async fn shadow(args: &ControllerArgs, client: Client, shutdown: CancellationToken) -> Result<()> {
    let named = args.controllers.runs(Controller::DaemonSet);
    ensure!(named, "--shadow compares DaemonSets: leave --controllers out, or name daemonset");
    tracing::info!(patience = ?args.patience, "looks on, and changes nothing");
    let seen = Arc::new(Seen::default());
    let (notes, stop, output) = (seen.clone(), shutdown.clone(), args.output);
    let tell = move |_: &str, look: &Look| {
        notes.made.fetch_add(look.made, Ordering::Relaxed);
        notes.ended.fetch_add(look.ended, Ordering::Relaxed);
        notes.differences.fetch_add(look.differences.len(), Ordering::Relaxed);
        if print(look, output).is_err() {
            // Nobody reads any more.
            stop.cancel();
        }
    };
    control::shadow(client, args.patience, tell, shutdown).await?;
    let [made, ended, differences] =
        [&seen.made, &seen.ended, &seen.differences].map(|count| count.load(Ordering::Relaxed));
    tracing::info!(made, ended, differences, "pods were made and ended as ours would have; differences were told");
    Ok(())
}

fn print(look: &Look, output: Option<ShadowOutput>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for difference in &look.differences {
        match output {
            Some(ShadowOutput::Json) => writeln!(out, "{}", serde_json::to_string(difference)?)?,
            None => writeln!(out, "{difference}")?,
        }
    }
    out.flush()
}
