//! Header blocks of SPDY/3: names and values, packed by zlib with a dictionary that both sides know.
//!
//! # Invariants
//! - One zlib stream a direction for the life of the connection: every block must be unpacked, in order.
//! - Ours are packed without the dictionary: they are small, and zlib says so in its head.

use std::collections::BTreeMap;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The dictionary of the SPDY/3 draft.
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// What a block may unpack to: kubectl's headers are under 200 bytes.
const BLOCK_BYTES_MAX: usize = 16 * 1024;

/// Names in lower case, as SPDY has them.
pub type Headers = BTreeMap<String, String>;

/// Unpacks the peer's blocks.
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers of one block; None when it is none, and then nothing more of the connection can be read.
    pub(super) fn unpack(&mut self, mut packed: &[u8]) -> Option<Headers> {
        let mut plain = vec![0; BLOCK_BYTES_MAX];
        let mut length = 0;
        while !packed.is_empty() {
            let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress(packed, plain.get_mut(length..)?, FlushDecompress::Sync);
            let read = usize::try_from(self.0.total_in() - before_in).ok()?;
            length += usize::try_from(self.0.total_out() - before_out).ok()?;
            packed = packed.get(read..)?;
            match result {
                Ok(Status::Ok) if read > 0 => {}
                Ok(_) => return None,
                Err(error) => {
                    error.needs_dictionary()?;
                    self.0.set_dictionary(DICTIONARY).ok()?;
                }
            }
        }
        parse(plain.get(..length)?)
    }
}

/// `[u32 count] ([u32 length] name [u32 length] value)*`
fn parse(mut block: &[u8]) -> Option<Headers> {
    fn number(block: &mut &[u8]) -> Option<usize> {
        let (bytes, rest) = block.split_first_chunk::<4>()?;
        *block = rest;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    }
    fn text(block: &mut &[u8]) -> Option<String> {
        let length = number(block)?;
        let (bytes, rest) = block.split_at_checked(length)?;
        *block = rest;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
    let count = number(&mut block)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut block)?;
        headers.insert(name.to_ascii_lowercase(), text(&mut block)?);
    }
    Some(headers)
}

/// Packs our blocks.
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::fast(), true))
    }

    /// A block of these headers; names must be in lower case.
    pub(super) fn pack(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let plain = block(headers);
        // Far more than so few bytes can become.
        let mut packed = Vec::with_capacity(64 + plain.len() * 2);
        // It can only fail for want of room.
        let _ = self.0.compress_vec(&plain, &mut packed, FlushCompress::Sync);
        packed
    }
}

/// See [`parse`].
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    // Ours are a few short words.
    let number = |length: usize| u32::try_from(length).unwrap_or_default().to_be_bytes();
    let mut plain = number(headers.len()).to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend(number(text.len()));
        plain.extend(text.as_bytes());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_connection_are_unpacked_with_the_dictionary() {
        let mut packer = Compress::new(Compression::best(), true);
        packer.set_dictionary(DICTIONARY).unwrap();
        let mut unpacker = Unpacker::new();
        for port in ["80", "8080"] {
            let mut packed = Vec::with_capacity(1024);
            let plain = block(&[("streamType", "error"), ("port", port)]);
            packer.compress_vec(&plain, &mut packed, FlushCompress::Sync).unwrap();
            let headers = unpacker.unpack(&packed).unwrap();
            assert_eq!((headers["streamtype"].as_str(), headers["port"].as_str()), ("error", port));
        }
    }

    #[test]
    fn our_own_blocks_are_read_by_others() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        for headers in [&[][..], &[("streamtype", "data"), ("port", "80")], &[], &[("port", "81")]] {
            let want = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(unpacker.unpack(&packer.pack(headers)), Some(want));
        }
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let mut packer = Compress::new(Compression::best(), true);
        let mut packed = Vec::with_capacity(1024 * 1024);
        packer.compress_vec(&vec![0; BLOCK_BYTES_MAX + 1], &mut packed, FlushCompress::Sync).unwrap();
        assert_eq!(Unpacker::new().unpack(&packed), None);
        assert_eq!(Unpacker::new().unpack(b"no zlib"), None);
        assert_eq!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']), None);
        assert_eq!(parse(&[255; 4]), None);
    }
}
