//! `everynode image`: the images of this machine.

use anyhow::Result;
use node::images::{Store, StoreError};

use crate::flags::ImageCommand;

/// Runs one of its commands.
pub(crate) fn run(command: ImageCommand) -> Result<()> {
    let open = |data: &crate::flags::DataDir| Store::open(&data.data_dir.join("images"));
    match command {
        ImageCommand::Load { file, data } => {
            for image in open(&data)?.load_archive(&file)? {
                println!("loaded {}", name(&image));
            }
        }
        ImageCommand::List { data } => {
            println!("{:<60} {:<16} SIZE", "IMAGE", "ID");
            for image in open(&data)?.list()? {
                let id = image.id.trim_start_matches("sha256:");
                println!("{:<60} {:<16} {}", name(&image), &id[..id.len().min(12)], size(image.size));
            }
        }
        ImageCommand::Rm { reference, data } => {
            open(&data)?.remove(&reference)?;
            println!("removed {reference}");
        }
        ImageCommand::Prune { all, data } => {
            let (names, bytes) = prune(&open(&data)?, all)?;
            names.iter().for_each(|name| println!("removed {name}"));
            println!("{} images removed, {}", names.len(), size(bytes));
        }
    }
    Ok(())
}

/// Removes what no container has; our own image stays. Returns the names and the bytes, shared layers counted each time.
fn prune(store: &Store, all: bool) -> Result<(Vec<String>, u64)> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    for image in store.list()? {
        let own = image.tags.iter().any(|tag| tag.starts_with(crate::builtin::IMAGE));
        if own || (image.pinned && !all) {
            continue;
        }
        match store.remove(&image.id) {
            Ok(()) => {
                names.push(name(&image));
                bytes += image.size;
            }
            // A container has it, or somebody else was faster.
            Err(StoreError::InUse { .. } | StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((names, bytes))
}

fn name(image: &node::runtime::ImageInfo) -> String {
    image.tags.first().or(image.digests.first()).unwrap_or(&image.id).clone()
}

fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_decimal_megabytes() {
        assert_eq!(super::size(1_250_000), "1.2 MB");
    }
}
