//! Names of custom kinds, kept for as long as the process lives: kinds are passed around by value and hold names as built-in
//! ones do.
//!
//! Invariants: each name and each list of names is kept once; there is a bound on all of them together.
//! Absent: schemas, which go when their definition does.

use std::collections::BTreeSet;

/// Bytes of names that are kept. A definition needs some 300, so this is good for more than 100,000 of them over the life
/// of a server, far beyond what any cluster has; a client that defines new names without end meets the bound.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a name was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many names of custom kinds since the server started; restart it to forget those that are gone")]
pub struct Full;

/// The names.
#[derive(Debug, Default)]
pub struct Interner {
    texts: BTreeSet<&'static str>,
    lists: BTreeSet<&'static [&'static str]>,
    bytes: usize,
}

impl Interner {
    /// The kept name.
    ///
    /// # Errors
    /// When too many are kept.
    pub fn text(&mut self, text: &str) -> Result<&'static str, Full> {
        if let Some(kept) = self.texts.get(text) {
            return Ok(kept);
        }
        self.take(text.len())?;
        let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
        self.texts.insert(kept);
        Ok(kept)
    }

    /// The kept list of names.
    ///
    /// # Errors
    /// When too many are kept.
    pub fn list(&mut self, texts: &[String]) -> Result<&'static [&'static str], Full> {
        let names: Vec<&'static str> = texts.iter().map(|text| self.text(text)).collect::<Result<_, _>>()?;
        if let Some(kept) = self.lists.get(names.as_slice()) {
            return Ok(kept);
        }
        self.take(std::mem::size_of_val(names.as_slice()))?;
        let kept: &'static [&'static str] = Box::leak(names.into_boxed_slice());
        self.lists.insert(kept);
        Ok(kept)
    }

    /// Counts bytes that are kept for as long as the names are.
    ///
    /// # Errors
    /// When too many are kept.
    pub fn account(&mut self, bytes: usize) -> Result<(), Full> {
        self.take(bytes)
    }

    fn take(&mut self, bytes: usize) -> Result<(), Full> {
        // What the sets themselves take for an entry.
        const ENTRY_BYTES: usize = 48;
        let after = self.bytes + bytes + ENTRY_BYTES;
        if after > BYTES_MAX {
            return Err(Full);
        }
        self.bytes = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_kept_once_and_not_without_end() {
        let mut interner = Interner::default();
        let one = interner.text("widgets").expect("room");
        assert!(std::ptr::eq(one, interner.text("widgets").expect("room")));
        let list = ["w".to_owned(), "wd".to_owned()];
        let kept = interner.list(&list).expect("room");
        assert!(std::ptr::eq(kept, interner.list(&list).expect("room")));
        interner.bytes = BYTES_MAX - 10;
        assert_eq!(interner.text("another"), Err(Full));
        assert_eq!(interner.text("widgets"), Ok("widgets"));
    }
}
