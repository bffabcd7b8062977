//! Small readers: selectors, quantities, YAML documents, frames.

use api::frames::{self, Decoder};
use api::quantity::Quantity;
use api::selector::{Fields, Labels};
use api::yaml;

pub(crate) fn selectors(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(labels) = Labels::parse(&text) {
        let shown = labels.to_string();
        match Labels::parse(&shown) {
            Ok(again) => assert_eq!(again.to_string(), shown),
            Err(error) => panic!("{text:?} is shown as {shown:?}: {error}"),
        }
    }
    if let Ok(fields) = Fields::parse(&text) {
        let shown = fields.to_string();
        assert_eq!(Fields::parse(&shown).ok(), Some(fields), "{text:?} is shown as {shown:?}");
    }
}

pub(crate) fn quantities(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for word in text.split(' ') {
        let Ok(quantity) = Quantity::parse(word) else { continue };
        let shown = quantity.to_string();
        match Quantity::parse(&shown) {
            Ok(again) => {
                assert_eq!(again, quantity, "{word:?} is shown as {shown:?}");
                assert_eq!(again.to_string(), shown, "{word:?}");
            }
            Err(error) => panic!("{word:?} is shown as {shown:?}: {error}"),
        }
        let _ = (quantity.units(), quantity.milli(), quantity.is_whole());
        let _ = quantity.rounded_to_milli().to_string();
    }
}

pub(crate) fn documents(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(documents) = yaml::read_documents(&text) else { return };
    for document in documents {
        let written = yaml::to_yaml(&document);
        match yaml::read_documents(&written) {
            Ok(again) => assert_eq!(again.first(), Some(&document), "{written}"),
            Err(error) => panic!("{document} is written as {written:?}: {error}"),
        }
    }
}

/// However the bytes are cut, the same frames come out.
pub(crate) fn frames(data: &[u8]) {
    let read = |step: usize| {
        let (mut decoder, mut all) = (Decoder::default(), Vec::new());
        for piece in data.chunks(step) {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => all.push(frame),
                    Ok(None) => break,
                    Err(_) => return (all, true),
                }
            }
        }
        (all, false)
    };
    let whole = read(data.len().max(1));
    assert_eq!(read(3), whole);
    let encoded: Vec<u8> = whole.0.iter().flat_map(|frame| frames::encode(frame.channel, &frame.bytes)).collect();
    assert!(data.starts_with(&encoded), "frames are written as they came");
}
