//! Chores of this repository, as `cargo xtask COMMAND`: each command is a module.

mod bench;
mod load;
mod schema;
mod soak;
mod tidy;

use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("bench") => bench::run(&args.collect::<Vec<_>>()),
        Some("schema") => schema::run(&args.collect::<Vec<_>>()),
        Some("soak") => soak::run(&args.collect::<Vec<_>>()),
        Some("tidy") => tidy::run(Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace")?),
        other => bail!("unknown command {other:?}; commands: bench api|fleet, schema --source DIR, soak, tidy"),
    }
}
