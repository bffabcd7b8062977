//! What the store remembers of an image, and what it tells others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::name::is_digest;

/// The part of an image's configuration that decides how a container starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV, in the image's order.
    pub env: Vec<(String, String)>,
    /// WORKDIR; empty is /.
    pub working_dir: String,
    /// USER ("", "0", "nobody", "1:2").
    pub user: String,
    /// STOPSIGNAL ("SIGTERM", "15"); empty is SIGTERM.
    pub stop_signal: String,
    /// VOLUME.
    pub volumes: Vec<String>,
}

/// What a container's root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsInfo {
    /// Read-only directories for overlayfs, the top one first.
    pub lower_dirs: Vec<PathBuf>,
    /// How to start in it.
    pub config: ImageConfig,
}

/// One image as a file of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// sha256:… of the configuration.
    pub(crate) id: String,
    /// diffIDs, the bottom one first.
    pub(crate) layers: Vec<String>,
    /// Bytes of all layers unpacked.
    pub(crate) size: u64,
    /// How to start in it.
    pub(crate) config: ImageConfig,
    /// It came from an archive or with the program, so that no registry may have it.
    #[serde(default)]
    pub(crate) kept: bool,
}

/// An image's configuration file, as far as it matters here.
#[derive(Debug, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<RunConfig>,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Reads a configuration file: how to start, and the diffIDs of the layers, the bottom one first.
pub(crate) fn parse_config(bytes: &[u8], what: &str) -> Result<(ImageConfig, Vec<String>), StoreError> {
    let bad = |cause: String| StoreError::content(what, cause);
    let file: ConfigFile =
        serde_json::from_slice(bytes).map_err(|error| bad(format!("not an image configuration: {error}")))?;
    let here = architecture();
    if (!file.os.is_empty() && file.os != "linux") || (!file.architecture.is_empty() && file.architecture != here) {
        return Err(bad(format!("made for {}/{}, this machine is linux/{here}", file.os, file.architecture)));
    }
    if let Some(wrong) = file.rootfs.diff_ids.iter().find(|id| !is_digest(id)) {
        return Err(bad(format!("diffID {wrong:?} is not a sha256 digest")));
    }
    let run = file.config.unwrap_or_default();
    let config = ImageConfig {
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
        env: run.env.unwrap_or_default().iter().map(|pair| split_env(pair)).collect(),
        working_dir: run.working_dir.unwrap_or_default(),
        user: run.user.unwrap_or_default(),
        stop_signal: run.stop_signal.unwrap_or_default(),
        volumes: run.volumes.unwrap_or_default().into_keys().collect(),
    };
    Ok((config, file.rootfs.diff_ids))
}

/// This machine in the words of image indexes.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

fn split_env(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read() {
        let diff = format!("sha256:{}", "1".repeat(64));
        let text = format!(
            r#"{{"architecture":"{}","os":"linux","config":{{"Entrypoint":["/e"],"Cmd":null,"Env":["A=1=2","B"],
            "User":"nobody","WorkingDir":"/w","StopSignal":"SIGQUIT","Volumes":{{"/data":{{}}}}}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#,
            architecture()
        );
        let (config, layers) = parse_config(text.as_bytes(), "x").unwrap();
        assert_eq!(layers, [diff]);
        assert_eq!(
            config,
            ImageConfig {
                entrypoint: vec!["/e".into()],
                cmd: vec![],
                env: vec![("A".into(), "1=2".into()), ("B".into(), String::new())],
                working_dir: "/w".into(),
                user: "nobody".into(),
                stop_signal: "SIGQUIT".into(),
                volumes: vec!["/data".into()],
            }
        );
    }

    #[test]
    fn unusable_configurations_are_refused() {
        for (text, want) in [
            ("{}", "x: not an image configuration"),
            (r#"{"rootfs":{"diff_ids":["sha256:../../etc"]}}"#, "is not a sha256 digest"),
            (r#"{"os":"windows","architecture":"amd64","rootfs":{"diff_ids":[]}}"#, "made for windows/amd64"),
        ] {
            let error = parse_config(text.as_bytes(), "x").unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
