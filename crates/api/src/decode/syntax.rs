//! What is wrong with a text that is no JSON, in the words of Go's scanner.
//!
//! Invariants: runs only after serde_json refused the text; one pass, no recursion.
//! Absent: values.

use crate::quote::quoted;

/// The message for a body that serde_json refused.
pub(crate) fn parse_failure(text: &str, error: &serde_json::Error) -> String {
    format!("couldn't get version/kind; json parse error: {}", message(text, error))
}

/// Go's message for a text that serde_json refused.
pub(crate) fn message(text: &str, error: &serde_json::Error) -> String {
    let is_too_deep = error.to_string().starts_with("recursion limit");
    let other = || if is_too_deep { "exceeded max depth".to_owned() } else { error.to_string() };
    scan(text.as_bytes()).err().unwrap_or_else(other)
}

/// What may come next at the current place.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    /// A comma or the end of what is open.
    More,
}

/// Checks `text` as Go's scanner does.
///
/// # Errors
/// The scanner's message for the first byte that cannot be.
pub(super) fn scan(text: &[u8]) -> Result<(), String> {
    let mut scanner = Scanner { text, at: 0, open: Vec::new() };
    let mut expect = Expect::Value;
    loop {
        scanner.skip_space();
        if expect == Expect::More && scanner.open.is_empty() {
            return scanner.peek().map_or(Ok(()), |byte| Err(unexpected(byte, "after top-level value")));
        }
        let byte = scanner.peek().ok_or_else(end)?;
        expect = scanner.step(expect, byte)?;
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    open: Vec<u8>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn step(&mut self, expect: Expect, byte: u8) -> Result<Expect, String> {
        match (expect, byte) {
            (Expect::KeyOrEnd, b'}') | (Expect::ValueOrEnd, b']') => self.close(),
            (Expect::Key | Expect::KeyOrEnd, b'"') => self.string().map(|()| Expect::Colon),
            (Expect::Key | Expect::KeyOrEnd, _) => Err(unexpected(byte, "looking for beginning of object key string")),
            (Expect::Colon, b':') => self.take(Expect::Value),
            (Expect::Colon, _) => Err(unexpected(byte, "after object key")),
            (Expect::Value | Expect::ValueOrEnd, _) => self.value(byte),
            (Expect::More, _) => match (self.open.last(), byte) {
                (Some(b'{'), b',') => self.take(Expect::Key),
                (Some(b'['), b',') => self.take(Expect::Value),
                (Some(b'{'), b'}') | (Some(b'['), b']') => self.close(),
                (Some(b'{'), _) => Err(unexpected(byte, "after object key:value pair")),
                _ => Err(unexpected(byte, "after array element")),
            },
        }
    }

    fn take(&mut self, next: Expect) -> Result<Expect, String> {
        self.at += 1;
        Ok(next)
    }

    fn close(&mut self) -> Result<Expect, String> {
        self.open.pop();
        self.take(Expect::More)
    }

    fn value(&mut self, byte: u8) -> Result<Expect, String> {
        match byte {
            b'{' => {
                self.open.push(byte);
                self.take(Expect::KeyOrEnd)
            }
            b'[' => {
                self.open.push(byte);
                self.take(Expect::ValueOrEnd)
            }
            b'"' => self.string().map(|()| Expect::More),
            b'-' | b'0'..=b'9' => self.number().map(|()| Expect::More),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(unexpected(byte, "looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<Expect, String> {
        for expected in word.chars() {
            let byte = self.peek().ok_or_else(end)?;
            if char::from(byte) != expected {
                return Err(unexpected(byte, &format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(Expect::More)
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            let byte = self.peek().ok_or_else(end)?;
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                0..0x20 => return Err(unexpected(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let byte = self.peek().ok_or_else(end)?;
        self.at += 1;
        match byte {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    let byte = self.peek().ok_or_else(end)?;
                    if !byte.is_ascii_hexdigit() {
                        return Err(unexpected(byte, "in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(unexpected(byte, "in string escape code")),
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
            self.require_digit("in numeric literal")?;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.require_digit("after decimal point in numeric literal")?;
            self.skip_digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.require_digit("in exponent of numeric literal")?;
            self.skip_digits();
        }
        Ok(())
    }

    fn require_digit(&self, place: &str) -> Result<(), String> {
        let byte = self.peek().ok_or_else(end)?;
        if byte.is_ascii_digit() { Ok(()) } else { Err(unexpected(byte, place)) }
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

fn end() -> String {
    "unexpected end of JSON input".to_owned()
}

fn unexpected(byte: u8, place: &str) -> String {
    // Go takes the byte for a code point, and quotes it as a character.
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        _ => quoted(&char::from(byte).to_string()).trim_matches('"').to_owned(),
    };
    format!("invalid character '{shown}' {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_go() {
        for (text, message) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\":1", "unexpected end of JSON input"),
            ("{]", "invalid character ']' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("hello", "invalid character 'h' looking for beginning of value"),
            ("nul]", "invalid character ']' in literal null (expecting 'l')"),
            ("{} {}", "invalid character '{' after top-level value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            ("'", "invalid character '\\'' looking for beginning of value"),
        ] {
            assert_eq!(scan(text.as_bytes()), Err(message.to_owned()), "{text}");
        }
        for text in ["{}", " [1, -0.5e+3, \"\\u00e9\\n\", true, false, null, {\"a\": []}] ", "0"] {
            assert_eq!(scan(text.as_bytes()), Ok(()), "{text}");
        }
    }
}
