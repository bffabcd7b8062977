//! The filter of a container's system calls, and what its processes need to install it.
//!
//! libcontainer drops capabilities before the last step of a process, in which the filter is installed. That takes
//! CAP_SYS_ADMIN unless no program can give more rights; so the configuration lends it, and CAP_SETPCAP by which both are
//! taken from the bounding set: the program then starts without.

use serde_json::{Value, json};

use super::capabilities::number;
use crate::runtime::{Seccomp, SecurityConfig};
use crate::seccomp::{Profile, compile, runtime_default};
use crate::shim::files::Confinement;

/// What installing a filter takes.
const NEEDED: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SETPCAP"];

/// Makes the filter for the container of this OCI configuration, and lends what is needed.
///
/// # Errors
/// A text for people: the profile can't be read, or asks for what can't be.
pub(super) fn confine(
    spec: &mut Value,
    security: &SecurityConfig,
    kernel: (u32, u32),
) -> Result<Option<Confinement>, String> {
    let given = spec["process"]["capabilities"]["bounding"].as_array().cloned().unwrap_or_default();
    let own: Vec<String> = given.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let profile = match &security.seccomp {
        _ if security.privileged => return Ok(None),
        Seccomp::Unconfined => return Ok(None),
        Seccomp::RuntimeDefault => runtime_default(&own),
        Seccomp::Localhost(path) => Profile::read(path).map_err(|error| error.to_string())?,
    };
    let filter = compile(&profile, &own, kernel)?;
    let mut lent = Vec::new();
    for name in NEEDED.into_iter().filter(|name| !security.no_new_privs && !own.iter().any(|has| has == name)) {
        for set in ["bounding", "effective", "permitted"] {
            if let Some(list) = spec["process"]["capabilities"][set].as_array_mut() {
                list.push(json!(name));
            }
        }
        lent.extend(number(name));
    }
    Ok(Some(Confinement { filter, lent }))
}

/// MAJOR and MINOR of what `uname -r` says.
pub(super) fn kernel(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(capabilities: &[&str]) -> Value {
        let set = json!(capabilities);
        json!({"process": {"capabilities": {"bounding": set, "effective": set, "permitted": set, "ambient": []}}})
    }

    #[test]
    fn what_is_needed_is_lent_and_no_more() {
        let default = SecurityConfig { seccomp: Seccomp::RuntimeDefault, ..SecurityConfig::default() };
        let strict = SecurityConfig { no_new_privs: true, ..default.clone() };
        let privileged = SecurityConfig { privileged: true, ..default.clone() };
        for (security, own, lent) in [
            (&default, &["CAP_KILL"][..], Some(vec![21, 8])),
            (&default, &["CAP_SETPCAP"], Some(vec![21])),
            (&default, &["CAP_SYS_ADMIN", "CAP_SETPCAP"], Some(vec![])),
            (&strict, &["CAP_KILL"], Some(vec![])),
            (&privileged, &["CAP_KILL"], None),
            (&SecurityConfig::default(), &["CAP_KILL"], None),
        ] {
            let mut spec = spec(own);
            let made = confine(&mut spec, security, (6, 1)).unwrap();
            assert_eq!(made.as_ref().map(|one| one.lent.clone()), lent, "{own:?}");
            let sets = &spec["process"]["capabilities"];
            let more = lent.map_or(0, |lent| lent.len());
            assert_eq!(sets["permitted"].as_array().unwrap().len(), own.len() + more);
            assert_eq!(sets["ambient"], json!([]), "what is lent must not outlive the start");
        }
    }

    #[test]
    fn a_missing_profile_is_told() {
        let seccomp = Seccomp::Localhost("/no/such/profile.json".into());
        let security = SecurityConfig { seccomp, ..SecurityConfig::default() };
        let error = confine(&mut spec(&[]), &security, (6, 1)).unwrap_err();
        assert!(error.contains("cannot load seccomp profile \"/no/such/profile.json\": No such file"), "{error}");
    }

    #[test]
    fn releases() {
        for (text, want) in [("6.18.44-fc", (6, 18)), ("5.4", (5, 4)), ("6-rc1", (6, 0)), ("", (0, 0))] {
            assert_eq!(kernel(text), want, "{text}");
        }
    }
}
