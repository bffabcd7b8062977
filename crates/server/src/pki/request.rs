//! Certificate requests: what they ask for, whether a signer may grant it, and the certificate.
//!
//! # Invariants
//! - A certificate carries the usages and the time that were approved, whatever the request's own extensions say.
//! - No request becomes an authority.

use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

use super::Authority;

/// Clients of the API.
pub(crate) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Agents as clients of the API.
pub(crate) const CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Agents as servers.
pub(crate) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// The longest life, and that of those who ask for none: a year.
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest that can be asked for, as by kube-apiserver.
const LIFE_MIN: Duration = Duration::from_secs(600);
/// Certificates begin in the past by this, for machines whose clock is behind; short-lived ones by a part of their life,
/// because clients renew them by that.
const BACKDATE: Duration = Duration::from_secs(300);
const BACKDATE_PART: u32 = 10;

/// What a request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The common name.
    pub(crate) user: String,
    /// The organizations.
    pub(crate) groups: Vec<String>,
    dns: bool,
    addresses: bool,
    others: bool,
}

/// Reads a request in PEM.
///
/// # Errors
/// When it is none.
pub(crate) fn read(pem: &str) -> Result<Wanted, String> {
    let der = rustls_pemfile::csr(&mut pem.as_bytes()).map_err(|e| e.to_string())?;
    let der = der.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|e| e.to_string())?;
    let subject = &request.certification_request_info.subject;
    let text = |found: Option<&str>| found.unwrap_or_default().to_owned();
    let mut wanted = Wanted {
        user: text(subject.iter_common_name().next().and_then(|n| n.as_str().ok())),
        groups: subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect(),
        ..Wanted::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => wanted.dns = true,
                GeneralName::IPAddress(_) => wanted.addresses = true,
                _ => wanted.others = true,
            }
        }
    }
    Ok(wanted)
}

/// Whether a signer may grant what a request asks for.
///
/// # Errors
/// Why not, in Kubernetes' words.
pub(crate) fn grantable(signer: &str, wanted: &Wanted, usages: &[&str]) -> Result<(), String> {
    if signer == CLIENT {
        if let Some(usage) =
            usages.iter().find(|u| !matches!(**u, "digital signature" | "key encipherment" | "client auth"))
        {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
        return match usages.contains(&"client auth") {
            true => Ok(()),
            false => Err("missing required usage for client certificate: client auth".to_owned()),
        };
    }
    let serving = signer == KUBELET_SERVING;
    if wanted.groups != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    match serving {
        true if !wanted.dns && !wanted.addresses => return Err("DNS or IP subjectAltName is required".to_owned()),
        false if wanted.dns => return Err("DNS subjectAltNames are not allowed".to_owned()),
        false if wanted.addresses => return Err("IP subjectAltNames are not allowed".to_owned()),
        _ if wanted.others => return Err("Email and URI subjectAltNames are not allowed".to_owned()),
        _ => {}
    }
    let auth = if serving { "server auth" } else { "client auth" };
    let known = |u: &&str| matches!(*u, "digital signature" | "key encipherment") || *u == auth;
    if !usages.iter().all(known) || !usages.contains(&auth) || !usages.contains(&"digital signature") {
        return Err(format!("usages did not match [{auth} digital signature key encipherment]"));
    }
    match wanted.user.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".to_owned()),
    }
}

/// The life of a certificate: what was asked for, within bounds.
pub(crate) fn life(asked: Option<Duration>, longest: Duration) -> Duration {
    asked.unwrap_or(longest).max(LIFE_MIN).min(longest).min(LIFE_MAX)
}

impl Authority {
    /// Signs a request in PEM for the usages and the time given.
    ///
    /// # Errors
    /// When the request is broken, not signed by its key, or holds what certificates of ours can't.
    pub(crate) fn sign_request(&self, pem: &str, usages: &[&str], life: Duration) -> Result<String, String> {
        if read(pem)?.groups.len() > 1 {
            return Err("certificates with more than one organization can't be signed; ask for one".to_owned());
        }
        let mut request = CertificateSigningRequestParams::from_pem(pem).map_err(|e| e.to_string())?;
        let params = &mut request.params;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = usages.iter().filter_map(|u| key_usage(u)).collect();
        params.extended_key_usages = usages.iter().filter_map(|u| extended_usage(u)).collect();
        let since_epoch = Duration::from_secs(jiff::Timestamp::now().as_second().unsigned_abs());
        let now = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
        params.not_before = now - BACKDATE.min(life / BACKDATE_PART);
        params.not_after = now + life;
        request.signed_by(self.issuer()).map(|certificate| certificate.pem()).map_err(|e| e.to_string())
    }
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    match usage {
        "digital signature" => Some(KeyUsagePurpose::DigitalSignature),
        "key encipherment" => Some(KeyUsagePurpose::KeyEncipherment),
        _ => None,
    }
}

fn extended_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    match usage {
        "client auth" => Some(ExtendedKeyUsagePurpose::ClientAuth),
        "server auth" => Some(ExtendedKeyUsagePurpose::ServerAuth),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};
    use x509_parser::prelude::X509Certificate;

    /// A request for a user in a group, with names.
    fn request(user: &str, group: &str, names: &[&str]) -> String {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    #[test]
    fn signers_grant_what_they_are_for() {
        let client = &["digital signature", "client auth"][..];
        let serving = &["digital signature", "key encipherment", "server auth"][..];
        for (signer, user, group, names, usages, good) in [
            (CLIENT, "alice", "dev", &[][..], client, true),
            (CLIENT, "alice", "dev", &[], serving, false),
            (CLIENT, "alice", "dev", &[], &["digital signature"], false),
            (CLIENT_KUBELET, "system:node:n", "system:nodes", &[], client, true),
            (CLIENT_KUBELET, "system:node:n", "system:nodes", &["x.example"], client, false),
            (CLIENT_KUBELET, "system:node:n", "other", &[], client, false),
            (CLIENT_KUBELET, "n", "system:nodes", &[], client, false),
            (KUBELET_SERVING, "system:node:n", "system:nodes", &["10.0.0.1"], serving, true),
            (KUBELET_SERVING, "system:node:n", "system:nodes", &[], serving, false),
            (KUBELET_SERVING, "system:node:n", "system:nodes", &["10.0.0.1"], client, false),
        ] {
            let wanted = read(&request(user, group, names)).unwrap();
            assert_eq!(
                grantable(signer, &wanted, usages).is_ok(),
                good,
                "{signer} {user} {group} {names:?} {usages:?}"
            );
        }
        assert!(read("x").is_err());
    }

    #[test]
    fn lives_are_within_bounds() {
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        for (asked, longest, want) in [
            (None, LIFE_MAX, LIFE_MAX),
            (Some(hour), LIFE_MAX, hour),
            (Some(second), LIFE_MAX, LIFE_MIN),
            (Some(LIFE_MAX * 2), LIFE_MAX * 3, LIFE_MAX),
            (Some(hour), 20 * second, 20 * second),
            (None, 20 * second, 20 * second),
        ] {
            assert_eq!(life(asked, longest), want, "{asked:?} {longest:?}");
        }
    }

    #[test]
    fn what_is_signed_is_ours_and_no_authority() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let pem =
            authority.sign_request(&request("alice", "dev", &[]), &["client auth"], Duration::from_secs(3600)).unwrap();
        let der = rustls_pemfile::certs(&mut pem.as_bytes()).next().unwrap().unwrap();
        let ca = rustls_pemfile::certs(&mut authority.pem().as_bytes()).next().unwrap().unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let (_, ca) = X509Certificate::from_der(&ca).unwrap();
        assert!(certificate.verify_signature(Some(ca.public_key())).is_ok());
        assert!(!certificate.is_ca());
        let subject = super::super::common_name_and_organizations(&certificate).unwrap();
        assert_eq!((subject.user.as_str(), subject.groups.as_slice()), ("alice", &["dev".to_owned()][..]));
        let validity = certificate.validity();
        assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 3900);
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.client_auth);
    }
}
