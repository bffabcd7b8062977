//! `everynode controller`: our controllers and scheduler against any Kubernetes API server, in one process of several.

use anyhow::{Context, Result};

use crate::flags::ControllerArgs;
use crate::{client, logging, signals};

/// Runs until a signal.
pub(crate) fn run(args: &ControllerArgs) -> Result<()> {
    logging::start();
    crate::runtime(2)?.block_on(async {
        let shutdown = signals::shutdown()?;
        let client = client::client(&args.kubeconfig).await.with_context(|| args.kubeconfig.display().to_string())?;
        control::run_elected(client, control::Options::default(), crate::identity(), shutdown).await?;
        Ok(())
    })
}
