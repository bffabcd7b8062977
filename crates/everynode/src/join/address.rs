//! Addresses of servers, as `--server` takes them.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, Scheme};

/// Where a server is: https://HOST:PORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(Authority);

impl Address {
    /// The same path and query at this server.
    pub(crate) fn with(&self, uri: &Uri) -> Result<Uri, http::uri::InvalidUriParts> {
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.0.clone());
        if parts.path_and_query.is_none() {
            parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        }
        Uri::from_parts(parts)
    }

    /// The server's own URL.
    pub(crate) fn url(&self) -> Uri {
        self.with(&Uri::from_static("/")).unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "write https://HOST:PORT".to_owned())?;
        let plain = uri.scheme() == Some(&Scheme::HTTPS) && matches!(uri.path(), "" | "/") && uri.query().is_none();
        match uri.authority().filter(|a| plain && !a.as_str().contains('@') && !a.host().is_empty()) {
            Some(authority) => Ok(Self(authority.clone())),
            None => Err("write https://HOST:PORT".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["https://10.0.0.1:6443", "https://[fd00::1]:6443", "https://api.example"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        assert_eq!("https://a:1/".parse::<Address>().unwrap().to_string(), "https://a:1");
        for bad in ["a:1", "http://a:1", "https://a:1/x", "https://u@a:1", "https://a:1?x", "https://", ""] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_go_to_it() {
        let address: Address = "https://a:1".parse().unwrap();
        assert_eq!(address.with(&Uri::from_static("/x?y=1")).unwrap(), "https://a:1/x?y=1");
        assert_eq!(address.with(&Uri::from_static("https://b:2/x")).unwrap(), "https://a:1/x");
    }
}
