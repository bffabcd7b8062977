//! Termination messages: what a container left when it ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use decide::pod_lifecycle::SeenState;
use k8s_openapi::api::core::v1::Pod;

use super::{Agent, Picture, container, start};

/// Longest message, as Kubernetes has it.
const MESSAGE_MAX: u64 = 4096;
/// Longest message out of a log, as Kubernetes has it.
const LOG_MESSAGE_MAX: u64 = 2048;
/// Most lines out of a log, as Kubernetes has it.
const LOG_LINES_MAX: usize = 80;

/// Fills the messages of ended containers; each is read once.
pub(super) async fn read<R>(agent: &Agent<R>, pod: &Pod, picture: &mut Picture, known: &mut BTreeMap<String, String>) {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    known.retain(|id, _| picture.containers.iter().any(|c| c.id == *id));
    for (seen, status) in picture.containers.iter_mut().zip(&picture.statuses) {
        if seen.state != SeenState::Exited || !seen.message.is_empty() {
            continue;
        }
        if !known.contains_key(&seen.id) {
            let path = container::termination_log(agent, uid, &seen.name, seen.attempt);
            let spec = start::find_any(pod, &seen.name);
            let policy = spec.and_then(|s| s.termination_message_policy);
            let log = (policy.as_deref() == Some("FallbackToLogsOnError") && seen.exit_code != 0)
                .then(|| status.log_path.clone());
            let text = tokio::task::spawn_blocking(move || words(&path, log)).await.unwrap_or_default();
            known.insert(seen.id.clone(), text);
        }
        if let Some(text) = known.get(&seen.id) {
            seen.message.clone_from(text);
        }
    }
}

fn words(path: &Path, log: Option<PathBuf>) -> String {
    let text = head(path).unwrap_or_default();
    match log {
        Some(log) if text.is_empty() => tail(&log).unwrap_or_default(),
        _ => text,
    }
}

fn head(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MESSAGE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log in CRI format (TIME STREAM TAG TEXT), without their heads.
fn tail(path: &Path) -> std::io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    // Heads are about 40 bytes; four times the bound holds enough lines of any useful length.
    let begin = file.metadata()?.len().saturating_sub(LOG_MESSAGE_MAX * 4);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(LOG_MESSAGE_MAX * 4).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().skip(usize::from(begin > 0)).filter_map(|l| l.splitn(4, ' ').nth(3));
    let lines: Vec<&str> = lines.collect();
    let mut out = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n");
    let cut = out.len().saturating_sub(usize::try_from(LOG_MESSAGE_MAX).unwrap_or(usize::MAX));
    let cut = (cut..=out.len()).find(|at| out.is_char_boundary(*at)).unwrap_or(0);
    out.drain(..cut);
    if !out.is_empty() {
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_back_to_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (message, log) = (dir.path().join("m"), dir.path().join("l"));
        std::fs::write(&log, "T stdout F one\nT stderr F two words\n").unwrap();
        assert_eq!(words(&message, None), "");
        assert_eq!(words(&message, Some(log.clone())), "one\ntwo words\n");
        std::fs::write(&message, "own").unwrap();
        assert_eq!(words(&message, Some(log)), "own");
    }
}
