//! Frames: how several streams share the body of one request between server and node.
//!
//! A frame is `[u8 channel][u32 length, big endian][bytes]`. The channels are those of Kubernetes' remote commands.
//!
//! # Invariants
//! - What a decoder holds is bounded by [`FRAME_BYTES_MAX`] and the piece it was given last.

/// To the program.
pub const STDIN: u8 = 0;
/// From the program, or what its terminal shows.
pub const STDOUT: u8 = 1;
/// From the program.
pub const STDERR: u8 = 2;
/// How it ended: a Status.
pub const ERROR: u8 = 3;
/// To its terminal: `{"Width":…,"Height":…}`.
pub const RESIZE: u8 = 4;
/// Says that no more comes on the channel that its one byte names.
pub const CLOSE: u8 = 255;

/// Longest content: far above what either side reads at a time, so that only nonsense is longer.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

const HEAD_BYTES: usize = 5;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whose bytes.
    pub channel: u8,
    /// They.
    pub bytes: Vec<u8>,
}

/// Not frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
pub struct TooLong(usize);

/// The bytes of a frame; what is longer than [`FRAME_BYTES_MAX`] becomes several.
#[must_use]
pub fn encode(channel: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + HEAD_BYTES);
    let mut rest = bytes;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(FRAME_BYTES_MAX));
        out.push(channel);
        out.extend(u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(piece);
        rest = after;
        if rest.is_empty() {
            return out;
        }
    }
}

/// Puts frames together from pieces of any length.
#[derive(Debug, Default)]
pub struct Decoder {
    held: Vec<u8>,
}

impl Decoder {
    /// Adds a piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// The next whole frame; None until more was pushed.
    ///
    /// # Errors
    /// The other side does not speak frames; nothing more can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, TooLong> {
        let Some((&[channel, a, b, c, d], rest)) = self.held.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(TooLong(length));
        }
        let Some(bytes) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.held.drain(..HEAD_BYTES + length);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        Ok(Some(Frame { channel, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let long = vec![7; FRAME_BYTES_MAX + 3];
        let mut bytes = encode(STDOUT, b"hi");
        bytes.extend(encode(CLOSE, &[]));
        bytes.extend(encode(STDIN, &long));
        for step in [1_000_003, 64 * 1024, 7] {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for piece in bytes.chunks(step).take(300_000) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push((frame.channel, frame.bytes.len()));
                }
                if step == 7 && frames.len() == 2 {
                    break;
                }
            }
            let want = [(STDOUT, 2), (CLOSE, 0), (STDIN, FRAME_BYTES_MAX), (STDIN, 3)];
            assert_eq!(frames, want[..frames.len()]);
            assert!(frames.len() == 4 || step == 7);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(b"HTTP/1.1 200 OK");
        assert!(decoder.next_frame().is_err());
    }
}
