//! Expressions into tokens.
//!
//! Invariants: a token remembers where it began.

use super::ast::Literal;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Literal(Literal),
    Name(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "?", ":", ".", ",", "(", ")", "[", "]", "{", "}", "+", "-", "*", "/",
    "%", "!", "=",
];

/// All tokens with their places.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut lexer = Lexer { letters: text.chars().collect(), at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.blanks();
        let place = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        out.push((token, place));
        if is_end {
            return Ok(out);
        }
    }
}

struct Lexer {
    letters: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).copied()
    }

    fn blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some(letter) if letter.is_whitespace() => self.at += 1,
                Some('/') if self.peek(1) == Some('/') => {
                    while self.peek(0).is_some_and(|letter| letter != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn error<T>(&self, why: &str) -> Result<T, String> {
        Err(format!("Syntax error: {why} at column {}", self.at + 1))
    }

    fn token(&mut self) -> Result<Token, String> {
        let Some(letter) = self.peek(0) else { return Ok(Token::End) };
        if letter.is_ascii_digit() || (letter == '.' && self.peek(1).is_some_and(|next| next.is_ascii_digit())) {
            return self.number();
        }
        if let Some(token) = self.quoted()? {
            return Ok(token);
        }
        if letter.is_ascii_alphabetic() || letter == '_' {
            let start = self.at;
            while self.peek(0).is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
                self.at += 1;
            }
            let name: String = self.letters[start..self.at].iter().collect();
            return Ok(match name.as_str() {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::Sign("in"),
                _ => Token::Name(name),
            });
        }
        for sign in SIGNS {
            if sign.chars().enumerate().all(|(ahead, letter)| self.peek(ahead) == Some(letter)) {
                self.at += sign.len();
                return Ok(Token::Sign(sign));
            }
        }
        self.error(&format!("token recognition error at: '{letter}'"))
    }

    fn number(&mut self) -> Result<Token, String> {
        let start = self.at;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let digits = self.at;
            while self.peek(0).is_some_and(|letter| letter.is_ascii_hexdigit()) {
                self.at += 1;
            }
            let text: String = self.letters[digits..self.at].iter().collect();
            return self.whole(u64::from_str_radix(&text, 16).ok());
        }
        let mut is_float = false;
        while let Some(letter) = self.peek(0) {
            match letter {
                '0'..='9' => {}
                '.' if !is_float && self.peek(1).is_some_and(|next| next.is_ascii_digit()) => is_float = true,
                'e' | 'E' => {
                    is_float = true;
                    if matches!(self.peek(1), Some('+' | '-')) {
                        self.at += 1;
                    }
                }
                _ => break,
            }
            self.at += 1;
        }
        let text: String = self.letters[start..self.at].iter().collect();
        if is_float {
            return match text.parse() {
                Ok(number) => Ok(Token::Literal(Literal::Double(number))),
                Err(_) => self.error("invalid double literal"),
            };
        }
        self.whole(text.parse().ok())
    }

    fn whole(&mut self, number: Option<u64>) -> Result<Token, String> {
        let Some(number) = number else { return self.error("invalid int literal") };
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return Ok(Token::Literal(Literal::Uint(number)));
        }
        // The smallest integer is the negation of what is one too large: taken as such.
        match i64::try_from(number) {
            Ok(number) => Ok(Token::Literal(Literal::Int(number))),
            Err(_) if number == i64::MIN.unsigned_abs() => Ok(Token::Literal(Literal::Int(i64::MIN))),
            Err(_) => self.error("invalid int literal"),
        }
    }

    /// A text or bytes, with prefixes `r` and `b`.
    fn quoted(&mut self) -> Result<Option<Token>, String> {
        let (mut ahead, mut raw, mut bytes) = (0, false, false);
        while let Some(letter) = self.peek(ahead) {
            match letter {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => break,
            }
            ahead += 1;
        }
        let Some(quote @ ('"' | '\'')) = self.peek(ahead) else { return Ok(None) };
        self.at += ahead;
        let is_triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if is_triple { 3 } else { 1 };
        self.at += width;
        let mut text = String::new();
        let mut out = Vec::new();
        loop {
            let Some(letter) = self.peek(0) else { return self.error("unterminated string") };
            if (0..width).all(|ahead| self.peek(ahead) == Some(quote)) {
                self.at += width;
                break;
            }
            self.at += 1;
            match letter {
                '\n' if !is_triple => return self.error("unterminated string"),
                '\\' if !raw => self.escape(bytes, &mut text, &mut out)?,
                letter => text.push(letter),
            }
            if bytes {
                out.extend(std::mem::take(&mut text).into_bytes());
            }
        }
        Ok(Some(Token::Literal(if bytes { Literal::Bytes(out) } else { Literal::Text(text) })))
    }

    fn escape(&mut self, bytes: bool, text: &mut String, out: &mut Vec<u8>) -> Result<(), String> {
        let Some(letter) = self.peek(0) else { return self.error("unterminated string") };
        self.at += 1;
        let plain = match letter {
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            '\\' | '?' | '"' | '\'' | '`' => Some(letter),
            _ => None,
        };
        if let Some(plain) = plain {
            text.push(plain);
            return Ok(());
        }
        let (digits, radix) = match letter {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return self.error("invalid escape"),
        };
        let number: String = (0..digits).filter_map(|ahead| self.peek(ahead)).collect();
        self.at += digits;
        let Ok(number) = u32::from_str_radix(&number, radix) else { return self.error("invalid escape") };
        match (bytes && digits < 4, char::from_u32(number)) {
            (true, _) => out.push(u8::try_from(number).unwrap_or(u8::MAX)),
            (false, Some(letter)) => text.push(letter),
            (false, None) => return self.error("invalid escape"),
        }
        Ok(())
    }
}
