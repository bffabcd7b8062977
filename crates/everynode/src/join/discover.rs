//! Finding out whom to trust: the cluster's authority, as a server tells it to everyone, held against the token's pin.
//!
//! # Invariants
//! - What is asked before the pin is checked holds no secret, and of the answer only what fits the pin is used.
//! - The token goes only to a server that has proved to be of that authority.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::Kubeconfig;
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;

use super::address::Address;
use super::token::{JoinToken, Pin};

/// How long a server may take to connect and to answer: far above what a slow one takes.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Where servers tell their authority; kubeadm's do too.
const NAMESPACE: &str = "kube-public";
const CLUSTER_INFO: &str = "cluster-info";

/// The authority's certificates in PEM, from the first server that can be reached.
///
/// # Errors
/// One line that says what to do.
pub(super) async fn authority(servers: &[Address], token: &JoinToken) -> Result<(String, Address)> {
    let mut unreachable = Vec::new();
    for server in servers {
        match cluster_info(server).await {
            Ok(told) => return Ok((pinned(&told, &token.pin, server)?, server.clone())),
            Err(Told::Nothing(why)) => bail!(
                "{server} tells no authority ({why}): is that an everynode server? kube-public/cluster-info must be there"
            ),
            Err(Told::NotReached(why)) => unreachable.push(format!("{server} can't be reached ({why})")),
        }
    }
    bail!("{}: check the address, and that this machine may connect to the port", unreachable.join(", "))
}

/// A client that has the token for its name, of a server of the authority.
///
/// # Errors
/// When the authority is none.
pub(super) fn client(server: &Address, authority_pem: &str, token: &JoinToken) -> Result<Client> {
    let mut config = config(server);
    let roots = super::identity::certificates(authority_pem)?;
    config.root_cert = Some(roots.iter().map(|der| der.to_vec()).collect());
    config.auth_info.token = Some(token.bearer().into());
    Ok(Client::try_from(config)?)
}

/// Why there is no cluster-info.
enum Told {
    NotReached(String),
    Nothing(String),
}

fn config(server: &Address) -> Config {
    let mut config = Config::new(server.url());
    config.connect_timeout = Some(CONNECT_MAX);
    config.read_timeout = Some(CONNECT_MAX);
    config
}

async fn cluster_info(server: &Address) -> Result<ConfigMap, Told> {
    let mut config = config(server);
    config.accept_invalid_certs = true;
    let client = Client::try_from(config).map_err(|e| Told::Nothing(e.to_string()))?;
    Api::<ConfigMap>::namespaced(client, NAMESPACE).get(CLUSTER_INFO).await.map_err(|error| match error {
        kube::Error::Api(status) => Told::Nothing(status.message.clone()),
        kube::Error::Service(_) | kube::Error::HyperError(_) => Told::NotReached(root_cause(&error)),
        other => Told::Nothing(other.to_string()),
    })
}

/// The innermost cause: the layers around it say nothing about the network.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Of what a server told, the authority that the pin names.
fn pinned(told: &ConfigMap, pin: &Pin, server: &Address) -> Result<String> {
    let all = told_authorities(told).map_err(|e| anyhow!("{server} tells no authority that can be read: {e}"))?;
    let mut pins = Vec::new();
    for der in &all {
        let found = Pin::of(der).map_err(|e| anyhow!("{server} tells no authority that can be read: {e}"))?;
        if found == *pin {
            return Ok(pem(der));
        }
        pins.push(found.to_string());
    }
    bail!(
        "{server} is not of the cluster that made this token: its authority is {}, the token names {pin}; check --server, or \
         make a new token with `everynode token create` on that server",
        pins.join(", ")
    )
}

fn told_authorities(told: &ConfigMap) -> Result<Vec<CertificateDer<'static>>> {
    let text = told.data.as_ref().and_then(|d| d.get("kubeconfig")).ok_or_else(|| anyhow!("no kubeconfig in it"))?;
    let cluster = Kubeconfig::from_yaml(text)?.clusters.into_iter().find_map(|c| c.cluster);
    let data = cluster.and_then(|c| c.certificate_authority_data).ok_or_else(|| anyhow!("no authority in it"))?;
    super::identity::certificates(&String::from_utf8(STANDARD.decode(data)?)?)
}

fn pem(der: &[u8]) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn told(pems: &str) -> ConfigMap {
        let kubeconfig = serde_json::json!({"apiVersion": "v1", "kind": "Config", "users": null, "contexts": null,
            "clusters": [{"name": "", "cluster": {"server": "https://a:1",
                "certificate-authority-data": STANDARD.encode(pems)}}]});
        let data = BTreeMap::from([("kubeconfig".to_owned(), kubeconfig.to_string())]);
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn of_what_is_told_only_what_the_pin_names_is_trusted() {
        let [one, two] = [(); 2].map(|()| {
            let params = CertificateParams::new(vec![]).unwrap();
            params.self_signed(&KeyPair::generate().unwrap()).unwrap()
        });
        let server: Address = "https://a:1".parse().unwrap();
        let pin = Pin::of(two.der()).unwrap();
        let both = told(&format!("{}{}", one.pem(), two.pem()));
        let found = pinned(&both, &pin, &server).unwrap();
        assert_eq!(super::super::identity::certificates(&found).unwrap(), [two.der().clone()]);
        let other = pinned(&told(&one.pem()), &pin, &server).unwrap_err().to_string();
        assert!(other.contains("is not of the cluster that made this token"), "{other}");
        assert!(pinned(&ConfigMap::default(), &pin, &server).is_err());
    }
}
