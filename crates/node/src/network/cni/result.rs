//! The addresses in a plugin's answer, in the words of all versions of the specification.

use ipnet::IpNet;
use serde_json::Value;

/// Addresses of the pod: not those that a plugin gave to links of the node.
pub(super) fn addresses(result: &Value) -> Result<Vec<IpNet>, String> {
    // 0.1 and 0.2.
    let old = ["ip4", "ip6"].iter().filter_map(|family| result[family]["ip"].as_str());
    let interfaces = result["interfaces"].as_array();
    let inside = |ip: &&Value| {
        let interface = ip["interface"].as_u64().and_then(|index| interfaces?.get(usize::try_from(index).ok()?));
        interface.is_none_or(|interface| interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty()))
    };
    // From 0.3 on.
    let new = result["ips"].as_array().into_iter().flatten().filter(inside).filter_map(|ip| ip["address"].as_str());
    let parse = |text: &str| text.parse::<IpNet>().map_err(|_| format!("a plugin gave the address {text:?}"));
    let found = old.chain(new).map(parse).collect::<Result<Vec<IpNet>, String>>()?;
    if found.is_empty() { Err("the plugins gave the pod no address".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let got = addresses(&serde_json::from_str(text).unwrap());
        let shown = |nets: Vec<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match (got.map(shown), expect) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
            (got, want) => panic!("{text}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn answers_of_all_versions() {
        check(r#"{"ip4":{"ip":"10.1.0.5/16"},"ip6":{"ip":"fd00::5/64"}}"#, Ok("10.1.0.5/16 fd00::5/64"));
        check(r#"{"ips":[{"version":"4","address":"10.1.0.5/16","interface":0}]}"#, Ok("10.1.0.5/16"));
        let linked = r#"{"interfaces":[{"name":"veth1"},{"name":"eth0","sandbox":"/n"}],
            "ips":[{"address":"10.9.9.9/32","interface":0},{"address":"10.1.0.5/16","interface":1}]}"#;
        check(linked, Ok("10.1.0.5/16"));
        check("{}", Err("no address"));
        check(r#"{"ips":[{"address":"x"}]}"#, Err("gave the address"));
    }
}
