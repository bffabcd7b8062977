//! Which static pods a node is to run, and which of them end and begin now.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::full_name;

/// A file that makes no pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Its name.
    pub file: String,
    /// Why, and what becomes of the pod that it asked for before.
    pub message: String,
}

/// What the files of a directory ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// The pods, by the name of the file.
    pub pods: BTreeMap<String, Pod>,
    /// Files that make none.
    pub faults: Vec<Fault>,
}

impl Desired {
    /// After a look at the files; `self` is what was asked for before it.
    #[must_use]
    pub fn after(&self, files: BTreeMap<String, Result<Pod, String>>) -> Self {
        let mut next = Self::default();
        for (file, found) in files {
            let (pod, fault) = match found {
                Ok(pod) => (Some(pod), None),
                Err(why) => (self.pods.get(&file).cloned(), Some(why)),
            };
            let taken = pod.as_ref().and_then(|pod| next.holder(&full_name(pod)).map(|other| (full_name(pod), other)));
            if let Some((name, other)) = taken {
                let message = format!("pod {name} is in {other} already: give it another name");
                next.faults.push(Fault { file, message });
                continue;
            }
            if let Some(why) = fault {
                let running = if pod.is_some() { "; the pod that it asked for before runs on" } else { "" };
                next.faults.push(Fault { file: file.clone(), message: format!("{why}{running}") });
            }
            next.pods.extend(pod.map(|pod| (file, pod)));
        }
        next
    }

    /// The file whose pod has that name.
    fn holder(&self, full: &str) -> Option<String> {
        self.pods.iter().find(|(_, pod)| full_name(pod) == full).map(|(file, _)| file.clone())
    }

    /// Whether a pod of that name is asked for.
    #[must_use]
    pub fn has(&self, full: &str) -> bool {
        self.holder(full).is_some()
    }
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// UIDs of pods that are to end.
    pub end: Vec<String>,
    /// UIDs of pods that are to begin. Others may have to wait for one that ends.
    pub begin: Vec<String>,
}

/// What to do now; `running` is of which static pods something is left on the node: full names by UID.
#[must_use]
pub fn moves(desired: &Desired, running: &BTreeMap<String, String>) -> Moves {
    let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
    let wanted: Vec<String> = desired.pods.values().map(uid).collect();
    let free = |pod: &&Pod| !running.contains_key(&uid(pod)) && !running.values().any(|name| *name == full_name(pod));
    Moves {
        end: running.keys().filter(|uid| !wanted.contains(uid)).cloned().collect(),
        begin: desired.pods.values().filter(free).map(uid).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("d".to_owned());
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.uid = Some(uid.to_owned());
        pod
    }

    type Files<'a> = &'a [(&'a str, Result<(&'a str, &'a str), &'a str>)];

    fn look(before: &Desired, files: Files<'_>) -> Desired {
        let files = files.iter().map(|(file, found)| {
            let found = found.map(|(name, uid)| pod(name, uid)).map_err(str::to_owned);
            ((*file).to_owned(), found)
        });
        before.after(files.collect())
    }

    fn shown(desired: &Desired) -> (Vec<&str>, Vec<String>) {
        let uids = desired.pods.values().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
        (uids, desired.faults.iter().map(|fault| format!("{}: {}", fault.file, fault.message)).collect())
    }

    #[test]
    fn a_bad_file_stops_no_pod() {
        let cases: [(Files<'_>, &[&str], &[&str]); 5] = [
            (&[("a", Ok(("p", "1"))), ("b", Ok(("q", "2")))], &["1", "2"], &[]),
            (
                &[("a", Err("torn")), ("b", Ok(("q", "3")))],
                &["1", "3"],
                &["a: torn; the pod that it asked for before runs on"],
            ),
            // Files that never were good.
            (&[("c", Err("torn")), ("a", Ok(("p", "1")))], &["1"], &["c: torn"]),
            // Two of a name: the first counts, also when that is one of before.
            (
                &[("a", Ok(("p", "1"))), ("b", Ok(("p", "4")))],
                &["1"],
                &["b: pod d/p is in a already: give it another name"],
            ),
            (&[], &[], &[]),
        ];
        let before = look(&Desired::default(), cases[0].0);
        for (files, pods, faults) in cases {
            let after = look(&before, files);
            assert_eq!(shown(&after), (pods.to_vec(), faults.iter().map(|f| (*f).to_owned()).collect()), "{files:?}");
        }
        let clash = look(&before, &[("a", Ok(("q", "5"))), ("b", Err("torn"))]);
        assert_eq!(shown(&clash).0, ["5"]);
        assert!(clash.has("d/q") && !clash.has("d/p"));
    }

    #[test]
    fn what_ends_and_begins() {
        let desired = look(&Desired::default(), &[("a", Ok(("p", "1"))), ("b", Ok(("q", "2")))]);
        for (running, end, begin) in [
            (&[][..], &[][..], &["1", "2"][..]),
            (&[("1", "d/p"), ("2", "d/q")], &[], &[]),
            // A changed file: the new pod waits until the old one has ended.
            (&[("0", "d/p")], &["0"], &["2"]),
            (&[("0", "d/gone"), ("1", "d/p")], &["0"], &["2"]),
        ] {
            let running = running.iter().map(|(uid, name)| ((*uid).to_owned(), (*name).to_owned())).collect();
            let found = moves(&desired, &running);
            assert_eq!(
                (found.end, found.begin),
                (end.iter().map(|u| (*u).to_owned()).collect(), begin.iter().map(|u| (*u).to_owned()).collect()),
                "{running:?}"
            );
        }
    }
}
