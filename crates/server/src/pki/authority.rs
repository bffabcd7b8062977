//! The cluster's authority and what it signs.
//!
//! # Invariants
//! The authority's subject and key identifier never change, so certificates signed by an earlier run stay valid.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{directory, files};
use crate::error::ServerError;

/// The authority's life: longer than a machine's, because replacing it means replacing every kubeconfig.
const AUTHORITY_DAYS: i64 = 3650 * 2;
/// A certificate's life: a year, as kubeadm's.
const CERTIFICATE_DAYS: i64 = 365;
/// Certificates are renewed at a start within this of their end: a month of restarts to notice.
const RENEW_DAYS: i64 = 30;
/// Certificates begin in the past by this, for machines whose clock is behind.
const BACKDATE_DAYS: i64 = 1;

/// Who a client certificate speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The user name (CN).
    pub user: String,
    /// The groups (O).
    pub groups: Vec<String>,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// The authority, able to sign.
pub(crate) struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Reads the authority of `data_dir`, or makes it on the first start.
    ///
    /// # Errors
    /// When half of it is missing, it is broken, or it can't be written.
    pub(crate) fn open(data_dir: &Path) -> Result<Authority, ServerError> {
        let directory = directory(data_dir);
        files::make_directory(&directory)?;
        let (cert_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
        match (files::read(&cert_path)?, files::read(&key_path)?) {
            (Some(pem), Some(key)) => {
                let key = KeyPair::from_pem(&key).map_err(|e| broken(&key_path, e))?;
                first_certificate(&pem).map_err(|e| broken(&cert_path, e))?;
                Ok(Authority { directory, issuer: Issuer::new(authority_params(), key), pem })
            }
            // The key is written first, so a certificate without one was not left by a crash.
            (Some(_), None) => Err(broken(&key_path, "missing beside its ca.crt")),
            (None, _) => {
                let key = KeyPair::generate().map_err(|e| broken(&key_path, e))?;
                let params = authority_params();
                let pem = params.self_signed(&key).map_err(|e| broken(&cert_path, e))?.pem();
                files::write(&key_path, &key.serialize_pem(), 0o600)?;
                files::write(&cert_path, &pem, 0o644)?;
                Ok(Authority { directory, issuer: Issuer::new(params, key), pem })
            }
        }
    }

    /// Signs.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// The authority's certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The server's certificate for `names`, from the disk when it still fits.
    pub(crate) fn serving(&self, names: &BTreeSet<String>) -> Result<Pair, ServerError> {
        self.kept(
            "serving",
            |cert| names.is_subset(&names_of(cert)),
            || {
                let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, "everynode");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                Ok(params)
            },
        )
    }

    /// The client certificate kept as `file` for `subject`, from the disk when it still fits.
    pub(crate) fn client(&self, file: &str, subject: &Subject) -> Result<Pair, ServerError> {
        let fits =
            |cert: &X509Certificate<'_>| common_name_and_organizations(cert).is_some_and(|found| found == *subject);
        self.kept(file, fits, || Ok(client_params(subject)))
    }

    /// A client certificate that is kept nowhere.
    pub(crate) fn client_once(&self, subject: &Subject) -> Result<Pair, ServerError> {
        self.sign(client_params(subject)).map_err(|e| broken(&self.directory, e))
    }

    fn kept(
        &self,
        file: &str,
        fits: impl Fn(&X509Certificate<'_>) -> bool,
        params: impl FnOnce() -> Result<CertificateParams, rcgen::Error>,
    ) -> Result<Pair, ServerError> {
        let cert_path = self.directory.join(format!("{file}.crt"));
        let key_path = self.directory.join(format!("{file}.key"));
        if let (Some(certificate_pem), Some(key_pem)) = (files::read(&cert_path)?, files::read(&key_path)?)
            && self.still_good(&certificate_pem, &key_pem, fits)
        {
            return Ok(Pair { certificate_pem, key_pem });
        }
        let pair = params().and_then(|p| self.sign(p)).map_err(|e| broken(&cert_path, e))?;
        files::write(&key_path, &pair.key_pem, 0o600)?;
        files::write(&cert_path, &pair.certificate_pem, 0o644)?;
        Ok(pair)
    }

    /// Whether a kept pair belongs together, is ours, lasts, and fits.
    fn still_good(&self, pem: &str, key_pem: &str, fits: impl Fn(&X509Certificate<'_>) -> bool) -> bool {
        let (Ok(der), Ok(key), Ok(ca)) =
            (first_certificate(pem), KeyPair::from_pem(key_pem), first_certificate(&self.pem))
        else {
            return false;
        };
        let (Ok((_, cert)), Ok((_, ca))) = (X509Certificate::from_der(&der), X509Certificate::from_der(&ca)) else {
            return false;
        };
        let end = cert.validity().not_after.timestamp();
        cert.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
            && cert.verify_signature(Some(ca.public_key())).is_ok()
            && end - jiff::Timestamp::now().as_second() > RENEW_DAYS * 24 * 3600
            && fits(&cert)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Pair, rcgen::Error> {
        let key = KeyPair::generate()?;
        validity(&mut params, CERTIFICATE_DAYS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate_pem, key_pem: key.serialize_pem() })
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "everynode-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    validity(&mut params, AUTHORITY_DAYS);
    params
}

fn client_params(subject: &Subject) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject.user.clone());
    // rcgen keeps one value a type; several groups would need several O, which only tokens can carry here.
    if let Some(group) = subject.groups.first() {
        params.distinguished_name.push(DnType::OrganizationName, group.clone());
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn validity(params: &mut CertificateParams, days: i64) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let at = |offset: i64| {
        let date = today.saturating_add(jiff::Span::new().days(offset));
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    params.not_before = at(-BACKDATE_DAYS);
    params.not_after = at(days);
}

/// The DER of the first certificate of a PEM text.
pub(super) fn first_certificate(pem: &str) -> Result<Vec<u8>, String> {
    match rustls_pemfile::certs(&mut pem.as_bytes()).next() {
        Some(Ok(der)) => Ok(der.to_vec()),
        Some(Err(e)) => Err(e.to_string()),
        None => Err("holds no certificate".to_owned()),
    }
}

fn names_of(cert: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else { return BTreeSet::new() };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(dns) => Some((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => address_of(bytes).map(|ip| ip.to_string()),
            _ => None,
        })
        .collect()
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// User and groups of a client certificate; None without a common name.
pub(crate) fn common_name_and_organizations(cert: &X509Certificate<'_>) -> Option<Subject> {
    let user = cert.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = cert.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(String::from).collect();
    Some(Subject { user, groups })
}

fn broken(path: &Path, reason: impl ToString) -> ServerError {
    ServerError::Pki { path: path.to_owned(), reason: reason.to_string() }
}
