//! The static token file: `token,user,uid[,"group1,group2"]` a line.
//!
//! # Invariants
//! Tokens are compared by their hash, so the time a comparison takes says nothing about them.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::User;
use crate::error::ServerError;
use crate::limits::TOKEN_BYTES_MAX;

/// The known tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<[u8; 32], User>);

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read or a line is broken.
    pub(crate) fn read(path: &Path) -> Result<Tokens, ServerError> {
        let fail = |reason: String| ServerError::Tokens { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
        Tokens::parse(&text).map_err(fail)
    }

    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Tokens, String> {
        let mut tokens = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = |what: &str| format!("line {}: {what}", number + 1);
            let fields = columns(line).map_err(|what| at(&what))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(at("write token,user,uid and, if you like, groups in quotes"));
            };
            if token.is_empty() || name.is_empty() || token.len() > TOKEN_BYTES_MAX {
                return Err(at("the token and the user must not be empty, nor the token over 8 KiB"));
            }
            let groups = rest.iter().flat_map(|g| g.split(',')).map(|g| g.trim().to_owned());
            let groups = groups.filter(|g| !g.is_empty()).collect();
            tokens.insert(digest(token), User::known(name.clone(), uid.clone(), groups));
        }
        Ok(Tokens(tokens))
    }

    /// Whose token it is.
    pub(crate) fn find(&self, token: &str) -> Option<User> {
        self.0.get(&digest(token)).cloned()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Splits a line at commas outside of quotes; a doubled quote inside quotes is one quote.
fn columns(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    fields.push(field.trim().to_owned());
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let tokens = Tokens::parse("# comment\n\na,alice,1\nb, bob , 2 ,\"x, y\"\n").unwrap();
        assert_eq!(tokens.find("a").unwrap().groups, ["system:authenticated"]);
        let bob = tokens.find("b").unwrap();
        assert_eq!((bob.name.as_str(), bob.uid.as_str()), ("bob", "2"));
        assert_eq!(bob.groups, ["x", "y", "system:authenticated"]);
        assert!(tokens.find("c").is_none());
        for broken in ["a,alice", "a", ",alice,1", "a,alice,1,\"x"] {
            assert!(Tokens::parse(broken).unwrap_err().starts_with("line 1: "), "{broken}");
        }
    }
}
