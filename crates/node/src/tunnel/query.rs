//! Query strings as the API server passes them on.

use std::collections::BTreeMap;

/// The parameters, decoded; a name may come several times.
pub(super) struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            map.entry(decode(name)).or_default().push(decode(value));
        }
        Self(map)
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str).filter(|v| !v.is_empty())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self.first(name), Some("true" | "1" | "t" | "T" | "TRUE" | "True"))
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        match self.first(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| format!("invalid {name} {text:?}: it must be a number")),
        }
    }
}

/// Percent and plus.
pub(super) fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (byte, hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query::parse("follow=true&command=sh&command=-c&command=echo+a%26b&tailLines=3&bad=x&empty=");
        assert!(query.is("follow") && !query.is("previous"));
        assert_eq!(query.all("command"), ["sh", "-c", "echo a&b"]);
        assert_eq!(query.number::<u64>("tailLines"), Ok(Some(3)));
        assert_eq!((query.number::<u64>("none"), query.number::<u64>("empty")), (Ok(None), Ok(None)));
        assert!(query.number::<u64>("bad").is_err());
    }
}
