//! Logs that have grown large: the runtime writes them, and this runtime's user turns them over.
//!
//! # Invariants
//! - A log is renamed before the runtime opens a new one, so no line is lost; the older files are named and counted as the
//!   embedded runtime's are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::Shared;
use super::proto::{Empty, container as cri};
use crate::runtime::ContainerState;
use crate::shim::log::{compress_rotated, rotated_files};

/// Until the runtime is dropped.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.options.log_look_every).await;
        let Ok(list) = shared.statuses().await else { continue };
        for container in list.into_iter().filter(|c| c.state == ContainerState::Running) {
            turn(&shared, &container.id.0, container.log_path).await;
        }
    }
}

/// Turns one log over where it is large.
async fn turn(shared: &Shared, id: &str, path: PathBuf) {
    let (bytes_max, files_max) = (shared.options.log_bytes_max, shared.options.log_files_max);
    let at = path.clone();
    let aside = tokio::task::spawn_blocking(move || put_aside(&at, bytes_max, Timestamp::now())).await;
    let Ok(Some(aside)) = aside else { return };
    if let Err(error) = shared.client.ask::<_, Empty>(cri::REOPEN_LOG, cri::Id { id: id.to_owned() }).await {
        tracing::warn!("log {} can't be turned over: {error}", path.display());
        // It goes on in the old file, under the name that readers know.
        let _ = std::fs::rename(&aside, &path);
        return;
    }
    let trimming = move || {
        trim(&path, files_max);
        if let Err(error) = compress_rotated(&path) {
            tracing::debug!("older logs of {} stay uncompressed: {error}", path.display());
        }
    };
    drop(tokio::task::spawn_blocking(trimming).await);
}

/// Gives a large log a name with its time; None for one that is not large.
fn put_aside(path: &Path, bytes_max: u64, now: Timestamp) -> Option<PathBuf> {
    if std::fs::metadata(path).ok()?.len() < bytes_max {
        return None;
    }
    let mut aside = path.to_owned().into_os_string();
    aside.push(format!(".{}", now.strftime("%Y%m%d-%H%M%S")));
    let aside = PathBuf::from(aside);
    // Two in one second would lose the first.
    (!aside.exists()).then_some(())?;
    std::fs::rename(path, &aside).ok()?;
    Some(aside)
}

/// Removes the oldest files beyond `files_max`, the present one included.
fn trim(path: &Path, files_max: usize) {
    let mut old = rotated_files(path);
    while old.len() + 1 > files_max.max(2) {
        let _ = std::fs::remove_file(old.remove(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_logs_are_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        let at = |second| Timestamp::from_second(second).unwrap();
        std::fs::write(&log, "12345").unwrap();
        assert_eq!(put_aside(&log, 6, at(0)), None);
        for second in 0..4 {
            std::fs::write(&log, "123456").unwrap();
            let aside = put_aside(&log, 6, at(second)).unwrap();
            assert!(aside.exists() && !log.exists());
        }
        std::fs::write(&log, "123456").unwrap();
        assert_eq!(put_aside(&log, 6, at(3)), None, "of the same second there is one already");
        trim(&log, 3);
        let names: Vec<_> =
            rotated_files(&log).iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["0.log.19700101-000002", "0.log.19700101-000003"]);
    }
}
