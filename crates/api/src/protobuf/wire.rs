//! Protobuf's wire format: numbered items.
//!
//! Invariants: no length is believed before it is held against what is there.
//! Absent: groups, which Kubernetes has none of.

use super::ProtobufError;

/// What stands under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    pub(super) fn bytes(&self) -> Result<&'a [u8], ProtobufError> {
        match self {
            Item::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError("a number stands where bytes are due")),
        }
    }

    pub(super) fn number(&self) -> Result<u64, ProtobufError> {
        match self {
            Item::Number(number) => Ok(*number),
            _ => Err(ProtobufError("bytes stand where a number is due")),
        }
    }

    pub(super) fn fixed(&self) -> Result<u64, ProtobufError> {
        match self {
            Item::Fixed(number) => Ok(*number),
            _ => Err(ProtobufError("a number is of another width")),
        }
    }
}

/// The items of a message in order.
pub(super) fn items(bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Item<'_>), ProtobufError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = next(&mut rest);
        if next.is_err() {
            rest = &[];
        }
        Some(next)
    })
}

/// The last item under a number.
pub(super) fn field(bytes: &[u8], wanted: u64) -> Result<Option<Item<'_>>, ProtobufError> {
    let mut found = None;
    for item in items(bytes) {
        let (number, item) = item?;
        if number == wanted {
            found = Some(item);
        }
    }
    Ok(found)
}

/// Packed numbers.
pub(super) fn numbers(bytes: &[u8]) -> impl Iterator<Item = Result<u64, ProtobufError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = varint(&mut rest);
        if next.is_err() {
            rest = &[];
        }
        Some(next)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<(u64, Item<'a>), ProtobufError> {
    let key = varint(rest)?;
    let item = match key & 7 {
        0 => Item::Number(varint(rest)?),
        1 => Item::Fixed(u64::from_le_bytes(take(rest, 8)?.try_into().map_err(|_| SHORT)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| SHORT)?;
            Item::Bytes(take(rest, length)?)
        }
        5 => Item::Fixed(u32::from_le_bytes(take(rest, 4)?.try_into().map_err(|_| SHORT)?).into()),
        _ => return Err(ProtobufError("an item is of an unknown type")),
    };
    Ok((key >> 3, item))
}

const SHORT: ProtobufError = ProtobufError("it ends too early");

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ProtobufError> {
    let (head, tail) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = tail;
    Ok(head)
}

fn varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(SHORT)?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ProtobufError("a number is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_each_width() {
        let bytes = [8, 0xac, 2, 17, 1, 0, 0, 0, 0, 0, 0, 0, 29, 2, 0, 0, 0, 34, 1, b'x'];
        let read: Result<Vec<_>, _> = items(&bytes).collect();
        assert_eq!(
            read.unwrap(),
            [(1, Item::Number(300)), (2, Item::Fixed(1)), (3, Item::Fixed(2)), (4, Item::Bytes(b"x"))]
        );
        assert_eq!(numbers(&[1, 0xac, 2]).collect::<Result<Vec<_>, _>>().unwrap(), [1, 300]);
    }
}
