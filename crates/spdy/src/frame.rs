//! Frames of SPDY/3.1 as bytes.
//!
//! ```text
//! control: 1 version:15 type:16 | flags:8 length:24 | ...
//! data:    0 stream:31          | flags:8 length:24 | ...
//! ```

/// Longest content of one frame. kubectl writes what it reads, at most 32 KiB at a time.
pub(super) const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes before the content.
pub(super) const HEAD_BYTES: usize = 8;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;
/// RST_STREAM: the stream is of no use any more.
const CANCEL: u32 = 5;

/// What a frame's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) fin: bool,
    pub(super) length: usize,
}

/// Kinds of frames, as far as they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data(u32),
    SynStream,
    RstStream,
    Ping,
    GoAway,
    /// Settings, windows, headers and replies to what we never ask.
    Other,
}

/// None when it is no frame of this version, or too long.
pub(super) fn head(bytes: [u8; HEAD_BYTES]) -> Option<Head> {
    let [a, b, c, d, flags, e, f, g] = bytes;
    let length = usize::try_from(u32::from_be_bytes([0, e, f, g])).ok().filter(|length| *length <= FRAME_BYTES_MAX)?;
    let fin = flags & FLAG_FIN != 0;
    if a & 0x80 == 0 {
        return Some(Head { kind: Kind::Data(u32::from_be_bytes([a, b, c, d])), fin, length });
    }
    if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
        return None;
    }
    let kind = match u16::from_be_bytes([c, d]) {
        SYN_STREAM => Kind::SynStream,
        RST_STREAM => Kind::RstStream,
        PING => Kind::Ping,
        GOAWAY => Kind::GoAway,
        _ => Kind::Other,
    };
    Some(Head { kind, fin, length })
}

/// A number in a content, without the bit that SPDY reserves.
pub(super) fn number(content: &[u8]) -> Option<u32> {
    content.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

fn control(kind: u16, content: &[&[u8]]) -> Vec<u8> {
    let length = content.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(HEAD_BYTES + length);
    out.extend((VERSION | 0x8000).to_be_bytes());
    out.extend(kind.to_be_bytes());
    // Ours are a few bytes.
    out.extend(u32::try_from(length).unwrap_or_default().to_be_bytes());
    content.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Opens a stream; `headers` is packed.
pub(super) fn syn_stream(stream: u32, headers: &[u8]) -> Vec<u8> {
    // It belongs to no other stream, and has the lowest priority and slot.
    control(SYN_STREAM, &[&stream.to_be_bytes(), &[0; 6], headers])
}

/// Accepts a stream; `headers` is packed.
pub(super) fn syn_reply(stream: u32, headers: &[u8]) -> Vec<u8> {
    control(SYN_REPLY, &[&stream.to_be_bytes(), headers])
}

/// Gives a stream up.
pub(super) fn rst_stream(stream: u32) -> Vec<u8> {
    control(RST_STREAM, &[&stream.to_be_bytes(), &CANCEL.to_be_bytes()])
}

/// Answers a ping.
pub(super) fn ping(id: u32) -> Vec<u8> {
    control(PING, &[&id.to_be_bytes()])
}

/// Says that the connection ends well.
pub(super) fn go_away(last: u32) -> Vec<u8> {
    control(GOAWAY, &[&last.to_be_bytes(), &0_u32.to_be_bytes()])
}

/// Content of a stream, at most [`FRAME_BYTES_MAX`].
pub(super) fn data(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    let bytes = bytes.get(..FRAME_BYTES_MAX).unwrap_or(bytes);
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    let mut out = Vec::with_capacity(HEAD_BYTES + bytes.len());
    out.extend((stream & 0x7fff_ffff).to_be_bytes());
    out.extend((length | u32::from(if fin { FLAG_FIN } else { 0 }) << 24).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(frame: &[u8]) -> Head {
        head(*frame.first_chunk().unwrap()).unwrap()
    }

    #[test]
    fn heads() {
        let sent = data(5, b"abc", true);
        assert_eq!(sent, [0, 0, 0, 5, 1, 0, 0, 3, b'a', b'b', b'c']);
        assert_eq!(head_of(&sent), Head { kind: Kind::Data(5), fin: true, length: 3 });
        assert_eq!(ping(7), [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 7]);
        assert_eq!(head_of(&ping(7)).kind, Kind::Ping);
        assert_eq!(head_of(&go_away(1)).kind, Kind::GoAway);
        assert_eq!(head_of(&rst_stream(1)).kind, Kind::RstStream);
        assert_eq!(head_of(&syn_stream(1, b"")), Head { kind: Kind::SynStream, fin: false, length: 10 });
        assert_eq!(head_of(&syn_reply(1, b"")), Head { kind: Kind::Other, fin: false, length: 4 });
        assert_eq!(head([0x80, 3, 0, 1, 1, 0, 0, 9]), Some(Head { kind: Kind::SynStream, fin: true, length: 9 }));
    }

    #[test]
    fn what_is_not_spdy_3_is_refused() {
        for bytes in [*b"GET / HT", [0x80, 2, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0x10, 0, 1]] {
            assert_eq!(head(bytes), None, "{bytes:?}");
        }
    }
}
