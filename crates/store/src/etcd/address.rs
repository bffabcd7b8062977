//! What `--store` says: `etcd://host:port,host:port/prefix`, over TLS as `etcds://` or when certificates are given.

use std::path::PathBuf;

use super::limits::KEY_PREFIX_BYTES_MAX;

/// The port of etcd's clients.
const PORT: &str = "2379";
/// Where our keys are unless told otherwise: nobody else's, so that an etcd can serve Kubernetes too.
const PREFIX: &str = "/everynode";

/// The files by which etcd and this server know each other, PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority of etcd's certificates.
    pub ca: Option<PathBuf>,
    /// The certificate that etcd is shown.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Where etcd is and which keys are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `http://host:port` or `https://host:port`, at least one.
    pub members: Vec<String>,
    /// With a slash before and none behind.
    pub prefix: String,
    /// None: not over TLS.
    pub tls: Option<TlsFiles>,
}

/// Why that is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// Neither etcd nor embedded.
    #[error("{0:?} is no store: say embedded or etcd://HOST:PORT,HOST:PORT")]
    Scheme(String),
    /// No or a bad member.
    #[error("{0:?} is no HOST:PORT of an etcd: say etcd://HOST:PORT,HOST:PORT")]
    Member(String),
    /// The prefix is not usable.
    #[error("{0:?} can't begin keys: use a path like /everynode of at most {KEY_PREFIX_BYTES_MAX} bytes")]
    Prefix(String),
    /// The URL says one thing and the flags another.
    #[error("http:// is not over TLS: leave out --store-ca, --store-cert and --store-key, or say etcds://")]
    Contradiction,
    /// Nothing to check etcd by.
    #[error("etcd over TLS needs --store-ca FILE, the authority of its certificates")]
    Authority,
    /// Half a pair.
    #[error("--store-cert and --store-key come together")]
    Pair,
    /// Passwords in command lines are seen by everyone on the machine.
    #[error("a user in the address is not supported: give etcd a client certificate by --store-cert and --store-key")]
    User,
}

impl Address {
    /// Reads an address and the flags beside it.
    ///
    /// # Errors
    /// When they are not usable, in words that say what is.
    pub fn parse(text: &str, files: TlsFiles) -> Result<Address, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| AddressError::Scheme(text.to_owned()))?;
        let given = files != TlsFiles::default();
        let secure = match scheme {
            "etcd" => given,
            "etcds" | "https" => true,
            "http" if given => return Err(AddressError::Contradiction),
            "http" => false,
            _ => return Err(AddressError::Scheme(text.to_owned())),
        };
        if files.cert.is_some() != files.key.is_some() {
            return Err(AddressError::Pair);
        }
        if secure && files.ca.is_none() {
            return Err(AddressError::Authority);
        }
        // Each host may repeat the scheme, as etcd's own lists of URLs do.
        let rest = rest.replace(&format!(",{scheme}://"), ",");
        let (hosts, path) = rest.split_once('/').unwrap_or((&rest, ""));
        let scheme = if secure { "https" } else { "http" };
        let members = hosts.split(',').map(|host| member(scheme, host)).collect::<Result<Vec<_>, _>>()?;
        Ok(Address { members, prefix: prefix(path)?, tls: secure.then_some(files) })
    }
}

fn member(scheme: &str, host: &str) -> Result<String, AddressError> {
    let host = host.trim();
    let bad = || AddressError::Member(host.to_owned());
    if host.contains('@') {
        return Err(AddressError::User);
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !port.contains(']') => (name, port),
        _ => (host, PORT),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']');
    if name.is_empty() || (name.contains(':') && !bracketed) || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    let url = format!("{scheme}://{name}:{port}");
    url.parse::<tonic::transport::Uri>().map(|_| url).map_err(|_| bad())
}

fn prefix(path: &str) -> Result<String, AddressError> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Ok(PREFIX.to_owned());
    }
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
    if !plain || path.contains("//") || path.len() > KEY_PREFIX_BYTES_MAX {
        return Err(AddressError::Prefix(path.to_owned()));
    }
    Ok(format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &str) -> TlsFiles {
        let file = |letter: char| names.contains(letter).then(|| PathBuf::from(letter.to_string()));
        TlsFiles { ca: file('a'), cert: file('c'), key: file('k') }
    }

    #[test]
    fn addresses() {
        let cases = [
            ("etcd://a", "", Ok(("http://a:2379", "/everynode"))),
            ("etcd://a:1,b:2", "", Ok(("http://a:1 http://b:2", "/everynode"))),
            (
                "etcd://10.0.0.1,[::1]:9,[::2]/x/y/",
                "",
                Ok(("http://10.0.0.1:2379 http://[::1]:9 http://[::2]:2379", "/x/y")),
            ),
            ("etcd://a", "ack", Ok(("https://a:2379", "/everynode"))),
            ("etcds://a:1", "a", Ok(("https://a:1", "/everynode"))),
            ("https://a:1,https://b:1", "a", Ok(("https://a:1 https://b:1", "/everynode"))),
            ("http://a:1", "", Ok(("http://a:1", "/everynode"))),
            ("http://a:1", "a", Err(AddressError::Contradiction)),
            ("etcds://a:1", "", Err(AddressError::Authority)),
            ("etcd://a:1", "ac", Err(AddressError::Pair)),
            ("etcd://", "", Err(AddressError::Member(String::new()))),
            ("etcd://a:port", "", Err(AddressError::Member("a:port".into()))),
            ("etcd://::1", "", Err(AddressError::Member("::1".into()))),
            ("etcd://u:p@a:1", "", Err(AddressError::User)),
            ("etcd://a:1/sp ace", "", Err(AddressError::Prefix("sp ace".into()))),
            ("redis://a:1", "", Err(AddressError::Scheme("redis://a:1".into()))),
            ("a:1", "", Err(AddressError::Scheme("a:1".into()))),
        ];
        for (text, names, want) in cases {
            let got = Address::parse(text, files(names)).map(|a| (a.members.join(" "), a.prefix));
            assert_eq!(got, want.map(|(members, prefix)| (members.to_owned(), prefix.to_owned())), "{text} {names}");
        }
    }
}
