//! Readers that hash what passes, and that undo compression.

use std::fmt::Write;
use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

/// Bytes read ahead of a decompressor: a layer's tar is read in big pieces.
const READ_AHEAD_BYTES: usize = 128 << 10;

/// Hashes all that is read through it.
pub(crate) struct HashReader<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> HashReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// Reads to the end and returns the digest of everything.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(digest_text(&self.hasher.finalize()))
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The digest of bytes in hand.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

/// Undoes gzip or zstd, told by the first bytes; passes anything else on as it is.
pub(crate) fn decompress<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(READ_AHEAD_BYTES, reader);
    let head = reader.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let plain = flate2::bufread::MultiGzDecoder::new(reader);
        Ok(Box::new(BufReader::with_capacity(READ_AHEAD_BYTES, plain)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let plain = zstd::stream::read::Decoder::with_buffer(reader)?;
        Ok(Box::new(BufReader::with_capacity(READ_AHEAD_BYTES, plain)))
    } else {
        Ok(Box::new(reader))
    }
}

/// sha256:HEX.
pub(crate) fn digest_text(hash: &[u8]) -> String {
    hash.iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn compression_is_told_by_the_first_bytes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let gzip = gzip.finish().unwrap();
        let mut twice = gzip.clone();
        twice.extend_from_slice(&gzip);
        let zstd = zstd::stream::encode_all(&b"hello"[..], 1).unwrap();
        for (packed, want) in
            [(&b"hello"[..], "hello"), (&gzip, "hello"), (&twice, "hellohello"), (&zstd, "hello"), (b"", "")]
        {
            let mut text = String::new();
            decompress(packed).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, want);
        }
    }

    #[test]
    fn the_digest_covers_what_nobody_read() {
        let mut reader = HashReader::new(&b"hello"[..]);
        reader.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(reader.finish().unwrap(), digest_of(b"hello"));
        assert_eq!(digest_of(b"hello"), "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    }
}
