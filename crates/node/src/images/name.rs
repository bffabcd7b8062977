//! Names of images as Docker and Kubernetes read them: `busybox` is docker.io/library/busybox:latest.
//!
//! # Absent
//! Where a name is pulled from: `registry`.

use oci_client::Reference;

use super::error::StoreError;

/// The registry of a name that says none.
const HUB: &str = "docker.io";
/// Its name of old.
const HUB_OF_OLD: &str = "index.docker.io";
/// Longest repository, as registries have it.
const PATH_MAX: usize = 255;
/// Longest tag, as registries have it.
const TAG_MAX: usize = 128;

/// A parsed name: registry, repository, and a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    reference: Reference,
}

impl Name {
    /// Reads a name as a user writes it in a Pod.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`].
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let invalid = |cause: &str| StoreError::InvalidName { name: text.to_owned(), cause: cause.to_owned() };
        Ok(Self { reference: read(text).map_err(invalid)? })
    }

    /// The name in full: what it is known by in the store. A digest outranks a tag, as in containerd.
    #[must_use]
    pub fn canonical(&self) -> String {
        match self.reference.digest() {
            Some(digest) => self.with_digest(digest),
            None => format!("{}:{}", self.repository(), self.reference.tag().unwrap_or("latest")),
        }
    }

    /// REGISTRY/REPOSITORY.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.reference.registry(), self.reference.repository())
    }

    /// REGISTRY/REPOSITORY@DIGEST.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.repository())
    }

    /// The registry that the name says, before mirrors.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// For the registry client.
    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }
}

/// Reads by hand: the client's own reader compiles a regular expression that holds 12 MiB for as long as the agent lives.
fn read(text: &str) -> Result<Reference, &'static str> {
    const FORMAT: &str = "invalid reference format";
    if text.is_empty() {
        return Err("repository name must have at least one component");
    }
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    // A colon after the last slash begins the tag; one before it belongs to the registry's port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (rest, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => (HUB, name),
    };
    let registry = if registry == HUB_OF_OLD { HUB } else { registry };
    if !is_registry(registry) || !path.split('/').all(is_component) || !tag.is_none_or(is_tag) {
        return Err(FORMAT);
    }
    if path.len() > PATH_MAX {
        return Err("repository name must not be more than 255 characters");
    }
    match digest.map(|digest| digest.split_once(':')) {
        None => {}
        Some(Some(("sha256", hex))) if hex.len() < 32 || !hex.bytes().all(is_hex_digit) => return Err(FORMAT),
        Some(Some(("sha256", hex))) if hex.len() != 64 => return Err("invalid checksum digest length"),
        Some(Some(("sha256", _))) => {}
        Some(Some(_)) => return Err("unsupported digest algorithm"),
        Some(None) => return Err(FORMAT),
    }
    let official = registry == HUB && !path.contains('/');
    let path = if official { format!("library/{path}") } else { path.to_owned() };
    let registry = registry.to_owned();
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, path, tag.to_owned(), digest.to_owned()),
        (None, Some(digest)) => Reference::with_digest(registry, path, digest.to_owned()),
        (tag, None) => Reference::with_tag(registry, path, tag.unwrap_or("latest").to_owned()),
    })
}

/// `HOST[:PORT]`, where a host may be an IPv6 address in brackets.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = address.map_or_else(|| host.split('.').all(label), |ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    host && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case letters and digits, with one '.', one or two '_' or any number of '-' between them.
fn is_component(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut gaps = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let edges = text.bytes().next().is_some_and(inside) && text.bytes().last().is_some_and(inside);
    edges && gaps.all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = (1..=TAG_MAX).contains(&text.len());
    fits && text.bytes().next().is_some_and(word) && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Whether it is sha256: and 64 lower-case hex digits, the only form in use.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex)
}

/// Whether it is 64 lower-case hex digits, which also makes it safe as a file name.
pub(crate) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hex_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("fluent/fluentd:v0.14.10", "docker.io/fluent/fluentd:v0.14.10"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("k8s.gcr.io/pause:3.1", "k8s.gcr.io/pause:3.1"),
            ("[::1]:5000/a__b/c--d:T_1.0", "[::1]:5000/a__b/c--d:T_1.0"),
            ("test.com:5000", "docker.io/library/test.com:5000"),
            (&format!("busybox@{digest}"), &format!("docker.io/library/busybox@{digest}")),
            (&format!("busybox:1@{digest}"), &format!("docker.io/library/busybox@{digest}")),
        ];
        for (given, want) in cases {
            assert_eq!(Name::parse(given).unwrap().canonical(), want, "{given}");
        }
    }

    #[test]
    fn wrong_names_are_refused() {
        for (given, want) in [
            ("", "couldn't parse image name \"\": repository name must have at least one component"),
            ("Busybox", "couldn't parse image name \"Busybox\": invalid reference format"),
            ("a b", "couldn't parse image name \"a b\": invalid reference format"),
            ("a/b:", "couldn't parse image name \"a/b:\": invalid reference format"),
            ("a//b", "couldn't parse image name \"a//b\": invalid reference format"),
            ("a._b", "couldn't parse image name \"a._b\": invalid reference format"),
            ("r.io:x/b", "couldn't parse image name \"r.io:x/b\": invalid reference format"),
            ("a@md5:00", "couldn't parse image name \"a@md5:00\": unsupported digest algorithm"),
            ("../x", "couldn't parse image name \"../x\": invalid reference format"),
            (
                "a@sha256:0123456789abcdef0123456789abcdef",
                "couldn't parse image name \"a@sha256:0123456789abcdef0123456789abcdef\": invalid checksum digest length",
            ),
        ] {
            assert_eq!(Name::parse(given).unwrap_err().to_string(), want);
        }
    }
}
