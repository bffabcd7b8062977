//! How much larger and deeper a JSON patch may make an object: `copy` doubles what is there, and `move` nests it.
//!
//! Invariants: no patch of an allowed length makes a value whose depth or size is out of proportion to it.

use super::PatchError;
use crate::depth::depth;
use json_patch::PatchOperation;
use serde_json::Value;
use std::io;

/// Bytes that the copies of one patch may add: as many as a kube-apiserver allows.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Levels on the way to the result, which itself must be readable: far above any object, far below what a stack holds.
const LEVELS_MAX: usize = 512;

/// What the operations so far came to.
pub(super) struct Growth {
    copied: usize,
    /// No path in the object is longer.
    levels: usize,
}

impl Growth {
    pub(super) fn of(object: &Value) -> Growth {
        Growth { copied: 0, levels: depth(object) }
    }

    /// Accounts for an operation that comes next.
    ///
    /// # Errors
    /// When it would make too much of the object.
    pub(super) fn allow(&mut self, operation: &PatchOperation, object: &Value) -> Result<(), PatchError> {
        let (path, below) = match operation {
            PatchOperation::Add(add) => (&add.path, depth(&add.value)),
            PatchOperation::Replace(replace) => (&replace.path, depth(&replace.value)),
            PatchOperation::Move(step) => (&step.path, self.levels.saturating_sub(step.from.count())),
            PatchOperation::Copy(copy) => {
                self.copied += copy.from.resolve(object).map_or(0, length);
                if self.copied > COPIED_BYTES_MAX {
                    return Err(PatchError::NotApplicable(format!(
                        "Unable to copy, the accumulated size increase of copy is {}, exceeding the limit {COPIED_BYTES_MAX}",
                        self.copied
                    )));
                }
                (&copy.path, self.levels.saturating_sub(copy.from.count()))
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
        };
        self.levels = self.levels.max(path.count() + below);
        if self.levels > LEVELS_MAX {
            return Err(PatchError::NotApplicable(format!(
                "the object would be nested deeper than {LEVELS_MAX} levels"
            )));
        }
        Ok(())
    }
}

/// The length of a value as JSON.
fn length(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting can't fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use super::super::json as patched;
    use super::*;
    use serde_json::json;

    #[test]
    fn copies_of_copies_are_bounded() {
        let doubling: Vec<Value> =
            (0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")})).collect();
        let object = json!({"data": {"a": "x".repeat(100)}});
        assert!(matches!(patched(&object, &Value::Array(doubling.clone())), Err(PatchError::NotApplicable(_))));
        assert!(patched(&object, &Value::Array(doubling[..10].to_vec())).is_ok());
    }

    #[test]
    fn nothing_is_nested_without_end() {
        let deeper = "/a".repeat(100);
        let chain = (0..100).fold(json!("end"), |value, _| json!({ "a": value }));
        for op in ["move", "copy"] {
            let mut patch = Vec::new();
            for n in 0..60 {
                patch.push(json!({"op": "add", "path": format!("/b{n}"), "value": chain}));
                let from = if n == 0 { "/a".to_owned() } else { format!("/b{}", n - 1) };
                patch.push(json!({"op": op, "from": from, "path": format!("/b{n}{deeper}")}));
            }
            let result = patched(&json!({"a": {}}), &Value::Array(patch));
            assert!(matches!(result, Err(PatchError::NotApplicable(_))), "{op}");
        }
        // Moving on the same level is no growth, however often.
        let swap = json!({"op": "move", "from": "/a/b/c", "path": "/a/b/d"});
        let back = json!({"op": "move", "from": "/a/b/d", "path": "/a/b/c"});
        let patch = Value::Array((0..2000).map(|n| if n % 2 == 0 { swap.clone() } else { back.clone() }).collect());
        let object = json!({"a": {"b": {"c": {"e": 1}}}});
        assert_eq!(patched(&object, &patch).unwrap(), object);
    }
}
