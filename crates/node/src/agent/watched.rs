//! ConfigMaps and Secrets that volumes of this node's pods show, and those that a pod waits for: one watch for each, whatever
//! the number of its pods, so that a change is in the files at once, a pod starts as soon as what it waits for is there, and
//! nobody has to ask for what has not changed.
//!
//! # Invariants
//! - A watch is open as long as a pod here shows or awaits the object, and no longer; of an object that is immutable until it
//!   was read.
//! - Only a watch that is whole, or that the object is immutable, says anything about it; else the API server is asked.
//!
//! # Absent
//! The objects: a watch brings their versions alone. kube-root-ca.crt, which is in nearly every pod and changes once in the
//! life of a cluster: 5,000 nodes would hold 5,000 watches open for it, so it is asked for every minute, with the token
//! beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::objects::Named;
use super::reconnect::Reconnect;

/// Watches of one node at most: two for each of 110 pods. What is beyond is asked for every minute.
const WATCHES_MAX: usize = 220;
/// See the module.
const AUTHORITY: &str = "kube-root-ca.crt";

/// An object that a volume shows, or an environment is made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown {
    /// configmap or secret.
    pub(crate) kind: &'static str,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// What the volumes of a pod show, and are to follow.
pub(crate) fn shown(pod: &Pod) -> BTreeSet<Shown> {
    let mut names: Vec<(&'static str, Option<&str>)> = Vec::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        names.extend(volume.config_map.iter().map(|source| ("configmap", Some(source.name.as_str()))));
        names.extend(volume.secret.iter().map(|source| ("secret", source.secret_name.as_deref())));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            names.extend(source.config_map.iter().map(|source| ("configmap", Some(source.name.as_str()))));
            names.extend(source.secret.iter().map(|source| ("secret", Some(source.name.as_str()))));
        }
    }
    names.retain(|one| *one != ("configmap", Some(AUTHORITY)));
    in_namespace(pod, names)
}

/// What a pod that does not start for want of an object may wait for: what its volumes show, and its environments.
pub(crate) fn awaited(pod: &Pod) -> BTreeSet<Shown> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let mut names: Vec<(&'static str, Option<&str>)> = Vec::new();
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        for from in container.env_from.iter().flatten() {
            names.extend(from.config_map_ref.iter().map(|source| ("configmap", Some(source.name.as_str()))));
            names.extend(from.secret_ref.iter().map(|source| ("secret", Some(source.name.as_str()))));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            names.extend(source.config_map_key_ref.iter().map(|source| ("configmap", Some(source.name.as_str()))));
            names.extend(source.secret_key_ref.iter().map(|source| ("secret", Some(source.name.as_str()))));
        }
    }
    let mut all = shown(pod);
    all.extend(in_namespace(pod, names));
    all
}

fn in_namespace(pod: &Pod, names: Vec<(&'static str, Option<&str>)>) -> BTreeSet<Shown> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let named = names.into_iter().filter_map(|(kind, name)| Some((kind, name.filter(|name| !name.is_empty())?)));
    named.map(|(kind, name)| Shown { kind, namespace: namespace.to_owned(), name: name.to_owned() }).collect()
}

/// The version of an object; None where there is no such object.
pub(crate) type Version = Option<String>;

struct Entry {
    /// UIDs of the pods that show or await it.
    users: BTreeSet<String>,
    /// What the watch said last.
    version: Option<Version>,
    /// The watch is whole, or not needed.
    live: bool,
    /// The object is immutable: it is not watched.
    settled: bool,
    watch: AbortHandle,
}

impl Entry {
    fn new(users: BTreeSet<String>, watch: AbortHandle) -> Self {
        Self { users, version: None, live: false, settled: false, watch }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

#[derive(Default)]
struct Inner {
    entries: Mutex<BTreeMap<Shown, Entry>>,
    /// UIDs of pods that should look at what they show or await.
    stale: Mutex<BTreeSet<String>>,
    changed: Notify,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Watched {
    client: Client,
    inner: Arc<Inner>,
}

impl Inner {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<Shown, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stale(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch is whole, and says this.
    fn see(&self, object: &Shown, version: Version) {
        let users = {
            let mut entries = self.entries();
            let Some(entry) = entries.get_mut(object).filter(|entry| !entry.settled) else { return };
            entry.live = true;
            let old = entry.version.replace(version.clone());
            // A pod that awaits the object knows that it is not there.
            if old.unwrap_or_default() == version {
                return;
            }
            entry.users.clone()
        };
        self.stale().extend(users);
        self.changed.notify_one();
    }

    /// The watch is broken.
    fn lose(&self, object: &Shown) {
        if let Some(entry) = self.entries().get_mut(object) {
            entry.live = entry.settled;
        }
    }
}

impl Watched {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, inner: Arc::default() }
    }

    /// A pod shows or awaits these objects, and no others.
    pub(crate) fn follow(&self, uid: &str, objects: &BTreeSet<Shown>) {
        let mut entries = self.inner.entries();
        entries.retain(|object, entry| {
            if !objects.contains(object) {
                entry.users.remove(uid);
            }
            !entry.users.is_empty()
        });
        for object in objects {
            if let Some(entry) = entries.get_mut(object) {
                entry.users.insert(uid.to_owned());
            } else if entries.len() < WATCHES_MAX {
                entries.insert(object.clone(), Entry::new([uid.to_owned()].into(), self.watch(object)));
            }
        }
        drop(entries);
        if objects.is_empty() {
            self.inner.stale().remove(uid);
        }
    }

    fn watch(&self, object: &Shown) -> AbortHandle {
        let (client, inner, object) = (self.client.clone(), Arc::downgrade(&self.inner), object.clone());
        match object.kind {
            "secret" => tokio::spawn(watch::<Secret>(client, inner, object)).abort_handle(),
            _ => tokio::spawn(watch::<ConfigMap>(client, inner, object)).abort_handle(),
        }
    }

    /// The version of an object as the API server has it now; None where no whole watch tells.
    pub(crate) fn version(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Version> {
        let object = Shown { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let entries = self.inner.entries();
        entries.get(&object).filter(|entry| entry.live)?.version.clone()
    }

    /// The API server, or what is kept of it, has this: what is immutable is not watched any longer, and what came anew
    /// under the name of such an object is watched again.
    pub(crate) fn read(&self, kind: &'static str, meta: &ObjectMeta, immutable: bool) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let object = Shown { kind, namespace: text(&meta.namespace), name: text(&meta.name) };
        let mut entries = self.inner.entries();
        let Some(entry) = entries.get_mut(&object) else { return };
        if immutable {
            entry.watch.abort();
            (entry.live, entry.settled) = (true, true);
            entry.version = Some(meta.resource_version.clone());
        } else if entry.settled {
            *entry = Entry::new(std::mem::take(&mut entry.users), self.watch(&object));
        }
    }

    /// Waits until pods should look at what they show or await; their UIDs.
    pub(crate) async fn changed(&self) -> Vec<String> {
        self.inner.changed.notified().await;
        self.inner.stale().iter().cloned().collect()
    }

    /// Whether a pod should look at what it shows or awaits; asked once for each change.
    pub(crate) fn take_stale(&self, uid: &str) -> bool {
        self.inner.stale().remove(uid)
    }
}

async fn watch<K: Named>(client: Client, inner: Weak<Inner>, object: Shown) {
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client, &object.namespace);
    let one = watcher::Config::default().fields(&format!("metadata.name={}", object.name));
    let mut events = watcher(api, one).backoff(Reconnect::default()).boxed();
    let version = |found: PartialObjectMeta<K>| found.metadata.resource_version;
    let mut listed = None;
    while let Some(event) = events.next().await {
        let Some(inner) = inner.upgrade() else { return };
        match event {
            Ok(Event::Init) => listed = None,
            Ok(Event::InitApply(found)) => listed = version(found),
            Ok(Event::InitDone) => inner.see(&object, listed.take()),
            Ok(Event::Apply(found)) => inner.see(&object, version(found)),
            Ok(Event::Delete(_)) => inner.see(&object, None),
            Err(error) => {
                tracing::debug!("watch of {} {}/{}: {error}", object.kind, object.namespace, object.name);
                inner.lose(&object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &'static str, name: &str) -> Shown {
        Shown { kind, namespace: "a".to_owned(), name: name.to_owned() }
    }

    /// With a server that nobody is.
    fn nobodys() -> Watched {
        drop(rustls::crypto::ring::default_provider().install_default());
        let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        Watched::new(Client::try_from(nobody).unwrap())
    }

    #[test]
    fn what_volumes_show() {
        let text = r#"{"metadata": {"namespace": "a"}, "spec": {
            "volumes": [{"name": "1", "configMap": {"name": "m"}}, {"name": "2", "secret": {"secretName": "s"}},
                {"name": "3", "hostPath": {"path": "/"}}, {"name": "4", "configMap": {}},
                {"name": "5", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}},
                    {"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "p"}}, {"configMap": {"name": "m"}}]}}],
            "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "only-read-at-the-start"}}]}]}}"#;
        let expect = [object("configmap", "m"), object("secret", "p"), object("secret", "s")];
        assert_eq!(shown(&serde_json::from_str(text).unwrap()), expect.into());
    }

    #[test]
    fn what_a_pod_may_wait_for() {
        let text = r#"{"metadata": {"namespace": "a"}, "spec": {
            "volumes": [{"name": "1", "secret": {"secretName": "shown"}},
                {"name": "2", "configMap": {"name": "kube-root-ca.crt"}}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}]}],
            "containers": [{"name": "c", "env": [{"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "mk", "key": "k"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "sk", "key": "k"}}}]}]}}"#;
        let names = ["m", "mk"].map(|name| object("configmap", name)).into_iter();
        let expect = names.chain(["s", "sk", "shown"].map(|name| object("secret", name)));
        assert_eq!(awaited(&serde_json::from_str(text).unwrap()), expect.collect());
    }

    #[tokio::test]
    async fn what_is_immutable_is_not_watched() {
        let (watched, m) = (nobodys(), object("configmap", "m"));
        let meta = |version: &str| ObjectMeta {
            namespace: Some("a".to_owned()),
            name: Some("m".to_owned()),
            resource_version: Some(version.to_owned()),
            ..Default::default()
        };
        let watch = || watched.inner.entries()[&m].watch.clone();
        let ends = async |watch: AbortHandle| {
            while !watch.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        watched.follow("1", &[m.clone()].into());
        watched.read("configmap", &meta("7"), false);
        let first = watch();
        tokio::task::yield_now().await;
        assert!(!first.is_finished());
        watched.read("configmap", &meta("7"), true);
        ends(first).await;
        watched.inner.lose(&m);
        watched.inner.see(&m, None);
        watched.follow("2", &[m.clone()].into());
        assert_eq!(watched.version("configmap", "a", "m"), Some(Some("7".to_owned())));
        assert!(watch().is_finished() && watched.inner.stale().is_empty());
        // Deleted and made anew.
        watched.read("configmap", &meta("9"), false);
        assert!(!watch().is_finished());
        assert_eq!(watched.version("configmap", "a", "m"), None);
        watched.inner.see(&m, Some("9".to_owned()));
        assert_eq!(watched.changed().await, ["1", "2"]);
    }

    #[tokio::test]
    async fn who_awaits_an_object_is_told_when_it_comes() {
        let (watched, m) = (nobodys(), object("configmap", "m"));
        watched.follow("1", &[m.clone()].into());
        watched.inner.see(&m, None);
        assert!(!watched.take_stale("1"), "that it is not there is no news");
        watched.inner.see(&m, Some("7".to_owned()));
        assert!(watched.take_stale("1"));
    }

    #[tokio::test]
    async fn a_watch_is_shared_and_ends_with_its_last_user() {
        let watched = nobodys();
        let (m, s) = (object("configmap", "m"), object("secret", "s"));
        let version = || watched.version("configmap", "a", "m");
        watched.follow("1", &[m.clone(), s.clone()].into());
        watched.follow("2", &[m.clone()].into());
        assert_eq!(watched.inner.entries().len(), 2);
        assert_eq!(version(), None, "nobody has told yet");
        watched.inner.see(&m, Some("7".to_owned()));
        assert_eq!(version(), Some(Some("7".to_owned())));
        assert_eq!(watched.changed().await, ["1", "2"]);
        assert!(watched.take_stale("1") && !watched.take_stale("1"));
        watched.inner.lose(&m);
        assert_eq!(version(), None);
        watched.inner.see(&m, Some("7".to_owned()));
        assert!(!watched.take_stale("1"), "it came back as it was");
        watched.inner.see(&m, None);
        assert_eq!(version(), Some(None));
        assert!(watched.take_stale("1"));
        watched.follow("1", &BTreeSet::new());
        assert_eq!(watched.inner.entries().keys().cloned().collect::<Vec<_>>(), [m]);
        watched.follow("2", &BTreeSet::new());
        assert!(watched.inner.entries().is_empty() && watched.inner.stale().is_empty());
    }
}
