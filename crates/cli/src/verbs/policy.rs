//! `policy`: what a cluster needs to have RolloutPolicies.

use crate::failure::Result;

/// What to do about policies.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Print the definition of RolloutPolicies, for an API server that does not have it: policy crd | kubectl apply -f -
    Crd,
}

/// Flags of `policy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

/// Does what is asked; needs no server.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.part {
        Part::Crd => print!("{}", api::rollout_policy::DEFINITION),
    }
    Ok(())
}
