//! The configuration in a directory: the first file by name that is one (`.conflist`, `.conf`, `.json`).

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most bytes of a configuration.
const BYTES_MAX: u64 = 1 << 20;
/// Plugins in a list at most: each is a process for each pod.
const PLUGINS_MAX: usize = 32;
/// The versions of the specification whose words we speak.
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Versions from before CHECK, and before DEL was told what ADD had answered.
const BEFORE_CHECK: [&str; 4] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1"];

/// Plugins that make a network, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct List {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) disable_check: bool,
    pub(super) plugins: Vec<Value>,
}

impl List {
    /// Whether plugins know CHECK.
    pub(super) fn may_check(&self) -> bool {
        !self.disable_check && self.remembers()
    }

    /// Whether CHECK and DEL are told what ADD had answered.
    pub(super) fn remembers(&self) -> bool {
        !BEFORE_CHECK.contains(&self.version.as_str())
    }
}

/// The first that can be used. Those before it that can't are told of in the log.
pub(crate) fn load(dir: &Path) -> Option<List> {
    let entries = fs::read_dir(dir).ok()?;
    let is_config = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("conflist" | "conf" | "json"))
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_config).collect();
    paths.sort();
    for path in paths {
        match read(&path) {
            Ok(list) => return Some(list),
            Err(error) => tracing::warn!("{}: {error}; the next one is taken", path.display()),
        }
    }
    None
}

fn read(path: &Path) -> Result<List, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<List, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let name = value["name"].as_str().filter(|name| !name.is_empty()).ok_or("it has no name")?.to_owned();
    let version = value["cniVersion"].as_str().filter(|version| !version.is_empty()).unwrap_or("0.1.0").to_owned();
    if !VERSIONS.contains(&version.as_str()) {
        return Err(format!("cniVersion {version:?} is not known here: use one of {}", VERSIONS.join(", ")));
    }
    // Some write it as a string.
    let disable_check = value["disableCheck"] == true || value["disableCheck"] == "true";
    let plugins = match &value["plugins"] {
        Value::Null => vec![value.clone()],
        Value::Array(list) if !list.is_empty() && list.len() <= PLUGINS_MAX => list.clone(),
        _ => return Err(format!("plugins is no list of 1 to {PLUGINS_MAX} plugins")),
    };
    let sound = |plugin: &Value| {
        plugin["type"].as_str().is_some_and(|kind| !kind.is_empty() && !kind.contains('/') && !kind.starts_with('.'))
    };
    if !plugins.iter().all(sound) {
        return Err("a plugin has no type, or one that is no name of a program".to_owned());
    }
    Ok(List { name, version, disable_check, plugins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_plugins() {
        let list = parse(br#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a"},{"type":"b"}]}"#).unwrap();
        assert_eq!((list.name.as_str(), list.plugins.len(), list.may_check()), ("n", 2, true));
        let single = parse(br#"{"cniVersion":"0.3.1","name":"n","type":"a","bridge":"x"}"#).unwrap();
        assert_eq!((single.plugins[0]["bridge"].as_str(), single.remembers()), (Some("x"), false));
        assert!(!parse(br#"{"cniVersion":"0.4.0","name":"n","disableCheck":true,"type":"a"}"#).unwrap().may_check());
        for (text, want) in [
            ("{", "EOF"),
            (r#"{"type":"a"}"#, "no name"),
            (r#"{"name":"n","cniVersion":"9.0.0","type":"a"}"#, "not known here"),
            (r#"{"name":"n","plugins":[]}"#, "no list of"),
            (r#"{"name":"n","plugins":[{"type":"../a"}]}"#, "no name of a program"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn the_first_that_can_be_used_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(&dir.path().join("none")), None);
        assert_eq!(load(dir.path()), None);
        for (name, text) in [
            ("00-broken.conflist", "{"),
            ("05-note.txt", r#"{"name":"note","type":"a"}"#),
            ("20-second.conflist", r#"{"name":"second","plugins":[{"type":"a"}]}"#),
            ("10-first.conf", r#"{"name":"first","type":"a"}"#),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(load(dir.path()).unwrap().name, "first");
    }
}
