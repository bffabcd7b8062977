//! What runtimes tell only as JSON in the verbose part of their answers: containerd and CRI-O agree on these names.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::proto::Pairs;
use crate::runtime::Features;

/// Of a sandbox or a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inside {
    /// Its first process.
    pub(super) pid: Option<i32>,
    /// Its control group, below the root of each hierarchy.
    pub(super) cgroup: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    pid: i32,
    #[serde(default, rename = "runtimeSpec")]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    linux: Linux,
}

#[derive(Default, Deserialize)]
struct Linux {
    #[serde(default, rename = "cgroupsPath")]
    cgroup: String,
}

/// Reads the verbose part of a status; what is not there stays unknown.
pub(super) fn inside(info: &Pairs) -> Inside {
    let Some(info) = info.get("info").and_then(|text| serde_json::from_str::<Info>(text).ok()) else {
        return Inside::default();
    };
    let cgroup = Some(info.spec.linux.cgroup).filter(|path| !path.is_empty()).map(|path| group(&path));
    Inside { pid: Some(info.pid).filter(|pid| *pid > 0), cgroup }
}

/// A cgroupsPath as a path: systemd's are SLICE:PREFIX:NAME.
fn group(path: &str) -> PathBuf {
    let mut words = path.split(':');
    match (words.next(), words.next(), words.next()) {
        (Some(slice), Some(prefix), Some(name)) if !slice.starts_with('/') => {
            slice_path(slice).join(format!("{prefix}-{name}.scope"))
        }
        _ => PathBuf::from(path),
    }
}

/// Where systemd has a slice: a dash in its name is a step down.
pub(super) fn slice_path(slice: &str) -> PathBuf {
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut path = PathBuf::from("/");
    for (at, _) in name.match_indices('-').chain([(name.len(), "")]) {
        path.push(format!("{}.slice", &name[..at]));
    }
    path
}

/// What a runtime that has no call for it tells of its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    /// What it says that it can do.
    pub(super) features: Features,
    /// Control groups are made by systemd.
    pub(super) systemd: bool,
    /// Image that sandboxes are made of: it must stay.
    pub(super) sandbox_image: Option<String>,
}

/// Reads the verbose part of the runtime's own status.
pub(super) fn configuration(info: &Pairs) -> Configuration {
    let config: Value = info.get("config").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let containerd = &config["containerd"];
    let default = containerd["defaultRuntimeName"].as_str().unwrap_or("runc");
    let image = config["sandboxImage"].as_str().filter(|image| !image.is_empty());
    Configuration {
        features: Features::default(),
        systemd: containerd["runtimes"][default]["options"]["SystemdCgroup"] == true,
        sandbox_image: image.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn pairs(key: &str, text: &str) -> Pairs {
        [(key.to_owned(), text.to_owned())].into()
    }

    #[test]
    fn processes_and_groups() {
        let told = inside(&pairs("info", r#"{"pid":7,"x":1,"runtimeSpec":{"linux":{"cgroupsPath":"/a/b/c"}}}"#));
        assert_eq!(told, Inside { pid: Some(7), cgroup: Some("/a/b/c".into()) });
        let told = inside(&pairs("info", r#"{"pid":0,"runtimeSpec":{"linux":{"cgroupsPath":"en-1.slice:cri:c"}}}"#));
        assert_eq!(told, Inside { pid: None, cgroup: Some("/en.slice/en-1.slice/cri-c.scope".into()) });
        for nothing in [pairs("info", "no json"), Pairs::new(), pairs("info", "{}")] {
            assert_eq!(inside(&nothing), Inside::default());
        }
    }

    #[test]
    fn slices_are_nested_by_their_dashes() {
        assert_eq!(slice_path("a-b-c.slice"), Path::new("/a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(slice_path("a.slice"), Path::new("/a.slice"));
    }

    #[test]
    fn the_runtimes_configuration() {
        let told = configuration(&pairs(
            "config",
            r#"{"sandboxImage":"pause:1","containerd":{"defaultRuntimeName":"x",
                "runtimes":{"x":{"options":{"SystemdCgroup":true}}}}}"#,
        ));
        assert_eq!(
            told,
            Configuration { features: Features::default(), systemd: true, sandbox_image: Some("pause:1".to_owned()) }
        );
        assert_eq!(configuration(&Pairs::new()), Configuration::default());
    }
}
