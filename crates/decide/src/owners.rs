//! What becomes of objects whose owners go: background, foreground and orphaning deletion.
//!
//! Invariants: an object goes only when every one of its owners is known to be gone or waits for it; owners are compared
//! by UID, so a new object of an old name owns nothing; an owner that is deleted in the foreground goes after all
//! dependents that block it.
//!
//! Absent: how owners are looked up; whoever asks must have looked at the API server before it says that one is gone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Finalizer of an object that goes after its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object that leaves its dependents behind.
pub const ORPHAN: &str = "orphan";

/// `propagationPolicy` of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents go after the object.
    Background,
    /// Dependents go before the object.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// What the collector knows of one object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Holding {
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// True once its deletion has been asked for.
    pub deleting: bool,
    /// True with the finalizer [`FOREGROUND`].
    pub foreground: bool,
    /// True with the finalizer [`ORPHAN`].
    pub orphan: bool,
}

impl From<&ObjectMeta> for Holding {
    fn from(metadata: &ObjectMeta) -> Self {
        let has = |name: &str| metadata.finalizers.iter().flatten().any(|f| f == name);
        Self {
            owners: metadata.owner_references.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }
}

impl Holding {
    /// True while it waits for its dependents to go.
    #[must_use]
    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    /// True when it is neither owned nor going: nothing to remember but that it is there.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.owners.is_empty() && !self.deleting
    }
}

/// Where an owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It is there.
    Present,
    /// It waits for its dependents to go.
    Waiting,
    /// It is gone, as the API server says.
    Gone,
}

/// What to do about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Take these owners (UIDs) out of its references.
    Disown(Vec<String>),
    /// Delete it.
    Delete(Propagation),
    /// Take the finalizer out: it has nothing left to wait for.
    Finish(&'static str),
    /// Take it out of the references of its dependents, then take the finalizer out.
    Orphan,
    /// Look at its dependents: they hold it up.
    Push,
}

/// What to do about an object. `owners` is where its owners stand, in the order of its references; `dependents` is how
/// many objects name it as an owner and `blocking` how many of those hold its deletion up.
#[must_use]
pub fn judge(object: &Holding, owners: &[Owner], dependents: usize, blocking: usize) -> Verdict {
    if object.deleting && object.orphan {
        return Verdict::Orphan;
    }
    if object.waits_for_dependents() {
        return if blocking == 0 { Verdict::Finish(FOREGROUND) } else { Verdict::Push };
    }
    if object.deleting || owners.is_empty() {
        return Verdict::Keep;
    }
    let without: Vec<String> = object
        .owners
        .iter()
        .zip(owners)
        .filter(|(_, state)| **state != Owner::Present)
        .map(|(owner, _)| owner.uid.clone())
        .collect();
    if without.is_empty() {
        return Verdict::Keep;
    }
    if owners.contains(&Owner::Present) {
        return Verdict::Disown(without);
    }
    if owners.contains(&Owner::Waiting) && dependents > 0 {
        return Verdict::Delete(Propagation::Foreground);
    }
    Verdict::Delete(match (object.orphan, object.foreground) {
        (true, _) => Propagation::Orphan,
        (_, true) => Propagation::Foreground,
        _ => Propagation::Background,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(owners: &[&str], flags: &str) -> Holding {
        let owner = |uid: &&str| OwnerReference { uid: (*uid).into(), ..OwnerReference::default() };
        Holding {
            owners: owners.iter().map(owner).collect(),
            deleting: flags.contains('d'),
            foreground: flags.contains('f'),
            orphan: flags.contains('o'),
        }
    }

    #[test]
    fn verdicts() {
        use Owner::{Gone, Present, Waiting};
        use Propagation::{Background, Foreground, Orphan};
        type Case<'a> = (&'a str, &'a [&'a str], &'a str, &'a [Owner], (usize, usize), Verdict);
        let cases: &[Case<'_>] = &[
            ("no owner", &[], "", &[], (0, 0), Verdict::Keep),
            ("owner there", &["a"], "", &[Present], (0, 0), Verdict::Keep),
            ("owner gone", &["a"], "", &[Gone], (0, 0), Verdict::Delete(Background)),
            ("owner gone, orphan wished", &["a"], "o", &[Gone], (0, 0), Verdict::Delete(Orphan)),
            ("owner gone, foreground wished", &["a"], "f", &[Gone], (0, 0), Verdict::Delete(Foreground)),
            ("one of two gone", &["a", "b"], "", &[Gone, Present], (0, 0), Verdict::Disown(vec!["a".into()])),
            ("one of two waits", &["a", "b"], "", &[Present, Waiting], (0, 0), Verdict::Disown(vec!["b".into()])),
            ("both gone", &["a", "b"], "", &[Gone, Gone], (0, 0), Verdict::Delete(Background)),
            ("owner waits", &["a"], "", &[Waiting], (0, 0), Verdict::Delete(Background)),
            ("owner waits, has dependents", &["a"], "", &[Waiting], (2, 0), Verdict::Delete(Foreground)),
            ("going already", &["a"], "d", &[Gone], (0, 0), Verdict::Keep),
            ("waits for two", &[], "df", &[], (2, 2), Verdict::Push),
            ("waits for none that block", &[], "df", &[], (2, 0), Verdict::Finish(FOREGROUND)),
            ("leaves dependents behind", &[], "do", &[], (2, 2), Verdict::Orphan),
            ("finalizer without deletion", &[], "f", &[], (2, 2), Verdict::Keep),
        ];
        for (what, owners, flags, states, (dependents, blocking), expect) in cases {
            assert_eq!(judge(&object(owners, flags), states, *dependents, *blocking), *expect, "{what}");
        }
    }
}
