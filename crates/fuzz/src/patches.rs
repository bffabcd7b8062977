//! Patches: `KIND json|merge|strategic`, the object as one line of JSON, then the patch.

use api::decode::{self, FieldValidation, Media};
use api::patch::{self, PatchType};

pub(crate) fn run(data: &[u8]) {
    let (words, rest) = crate::first_line(data);
    let kind = crate::kind(words.first());
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (object, patch) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let Ok(object) = decode::decode(kind, object, Media::Json, FieldValidation::Ignore) else { return };
    let object = object.value;
    let patch_type = match words.get(1).copied().unwrap_or_default() {
        "merge" => PatchType::Merge,
        "strategic" => PatchType::Strategic,
        _ => PatchType::Json,
    };
    let Ok(patched) = patch::apply(kind, patch_type, &object, patch, FieldValidation::Warn) else { return };
    let once = crate::objects::live(kind, patched.value.clone());
    if patch_type != PatchType::Merge {
        return;
    }
    let again = patch::apply(kind, patch_type, &patched.value, patch, FieldValidation::Ignore);
    if let Ok(again) = again {
        assert_eq!(crate::objects::live(kind, again.value), once, "a merge patch twice is one once");
    }
}
