//! Revisions: names, numbers, duplicates, collisions, limits.

use super::super::*;
use super::fixture::{Cluster, set, set_image};

fn numbers(cluster: &Cluster) -> Vec<(i64, String)> {
    let image = |r: &ControllerRevision| {
        let data = &r.data.as_ref().unwrap().0;
        data.pointer("/spec/template/spec/containers/0/image").unwrap().as_str().unwrap().to_owned()
    };
    let mut list: Vec<_> = cluster.revisions.values().map(|r| (r.revision, image(r))).collect();
    list.sort();
    list
}

#[test]
fn a_revision_is_what_kubectl_reads() {
    let cluster = Cluster::settled(set("{}"), 1);
    let revision = cluster.revisions.values().next().unwrap();
    let hash = &revision.metadata.labels.as_ref().unwrap()[HASH_LABEL];
    assert_eq!(revision.metadata.name.as_deref(), Some(format!("d-{hash}").as_str()));
    assert_eq!(hash.len(), 10);
    assert_eq!(revision.metadata.labels.as_ref().unwrap()["app"], "d");
    let data = serde_json::json!({"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "d"}},
        "spec": {"containers": [{"name": "c", "image": "x:1"}]}}}});
    assert_eq!(revision.data.as_ref().unwrap().0, data);
    let owner = &revision.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.controller), ("DaemonSet", Some(true)));
}

#[test]
fn a_template_that_comes_back_takes_its_revision_out_again() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    set_image(&mut cluster.set, "x:2");
    cluster.settle();
    assert_eq!(numbers(&cluster), [(1, "x:1".into()), (2, "x:2".into())]);
    set_image(&mut cluster.set, "x:1");
    cluster.settle();
    assert_eq!(numbers(&cluster), [(2, "x:2".into()), (3, "x:1".into())]);
}

#[test]
fn defaults_that_appear_later_restart_nothing() {
    let mut cluster = Cluster::settled(set("{}"), 2);
    let spec = cluster.set.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    spec.dns_policy = Some("ClusterFirst".into());
    spec.containers[0].termination_message_policy = Some("File".into());
    assert!(cluster.plan().actions.is_empty());
}

#[test]
fn old_revisions_are_kept_up_to_the_limit_and_while_pods_run_them() {
    let spec = r#"{"revisionHistoryLimit":1,"updateStrategy":{"type":"OnDelete"}}"#;
    let mut cluster = Cluster::settled(set(spec), 1);
    for image in ["x:2", "x:3", "x:4"] {
        set_image(&mut cluster.set, image);
        cluster.settle();
    }
    assert_eq!(numbers(&cluster), [(1, "x:1".into()), (4, "x:4".into())], "a pod still runs x:1");
    cluster.pods.clear();
    set_image(&mut cluster.set, "x:5");
    cluster.settle();
    assert_eq!(numbers(&cluster), [(4, "x:4".into()), (5, "x:5".into())]);
}

#[test]
fn duplicates_are_merged_and_their_pods_relabelled() {
    let mut cluster = Cluster::settled(set("{}"), 2);
    let mut twin = cluster.revisions.values().next().unwrap().clone();
    let first = twin.metadata.labels.as_ref().unwrap()[HASH_LABEL].clone();
    twin.metadata.name = Some("d-twin".into());
    twin.metadata.labels.as_mut().unwrap().insert(HASH_LABEL.into(), "twin".into());
    twin.revision = 2;
    cluster.revisions.insert("d-twin".into(), twin);
    let plan = cluster.plan();
    assert_eq!(plan.hash, "twin");
    cluster.settle();
    assert!(cluster.pods.values().all(|p| p.labels[HASH_LABEL] == "twin"), "pods of {first} moved");
    assert_eq!((cluster.revisions.len(), cluster.made), (1, 2), "no pod was replaced");
}

#[test]
fn a_taken_name_is_stepped_around() {
    let set = set("{}");
    let mut cluster = Cluster::new(set, 1);
    let plan = cluster.plan();
    let Action::CreateRevision(revision) = &plan.actions[0] else { panic!("{:?}", plan.actions) };
    let mut foreign = (**revision).clone();
    foreign.metadata.owner_references.as_mut().unwrap()[0].uid = "other".into();
    foreign.metadata.owner_references.as_mut().unwrap()[0].name = "other".into();
    cluster.revisions.insert("foreign".into(), foreign);
    let blocked = cluster.plan();
    assert!(blocked.actions.is_empty());
    assert_eq!(blocked.status.as_ref().unwrap().collision_count, Some(1));
    cluster.apply(&blocked);
    let next = cluster.plan();
    assert_ne!(next.hash, plan.hash);
    assert!(matches!(next.actions[0], Action::CreateRevision(_)));
    cluster.settle();
    assert_eq!(cluster.set.status.unwrap().collision_count, Some(1));
}

#[test]
fn what_a_deleted_namesake_left_is_not_a_collision() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    for revision in cluster.revisions.values_mut() {
        revision.metadata.owner_references.as_mut().unwrap()[0].uid = "uid-before".into();
    }
    let plan = cluster.plan();
    assert_eq!((plan.actions.len(), plan.status), (0, None));
    cluster.revisions.clear();
    assert!(matches!(cluster.plan().actions[..], [Action::CreateRevision(_)]));
}

#[test]
fn orphaned_revisions_and_pods_are_taken_back_without_a_restart() {
    let mut cluster = Cluster::settled(set("{}"), 2);
    cluster.revisions.values_mut().for_each(|r| r.metadata.owner_references = None);
    cluster.pods.values_mut().for_each(|p| p.controller = None);
    cluster.settle();
    assert_eq!(cluster.made, 2);
    assert!(cluster.pods.values().all(|p| p.controller.is_some()));
    assert!(cluster.revisions.values().all(|r| r.metadata.owner_references.is_some()));
}

#[test]
fn revisions_of_before_labels_get_theirs() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    let revision = cluster.revisions.values_mut().next().unwrap();
    revision.metadata.labels.as_mut().unwrap().remove(HASH_LABEL);
    let plan = cluster.plan();
    let name = plan.hash.clone();
    assert!(matches!(&plan.actions[0], Action::UpdateRevision { hash, .. } if *hash == name));
}
