//! `rollout pause`, `resume`, `freeze`, `unfreeze` and `promote` of a DaemonSet: writes to its RolloutPolicy.
//!
//! # Invariants
//! - The policy that is written to is the one that the controllers read; one is made only where there is none.
//! - What is remembered of a rollout is written on the version that was read, so that no word of the controller is lost.
//!
//! # Absent
//! What is to be written ([`super::ask`]).

use api::rollout_policy::{GROUP, KIND, PLURAL, RolloutPolicy, VERSION};
use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::{Value, json};

use super::ask::{Ask, Change, Note, Standing};
use super::standing;
use super::verdict::observed;
use crate::client::{Api, PAGE_OBJECTS, PatchKind, Query};
use crate::failure::{Failure, Result, message};
use crate::mapping::Mapping;
use crate::reasons::read;
use crate::targets::Target;
use crate::verbs::ChangeArgs;

/// Times that a note is written again on a newer version: the controller writes a few times a second at most.
const TRIES: u32 = 10;
/// The name that these writes go by.
const MANAGER: &str = "kubectl-rollout";

/// Does what is asked about one DaemonSet.
pub(super) async fn run(api: &Api, change: &ChangeArgs, target: Target, ask: Ask) -> Result<()> {
    if target.mapping.kind != "DaemonSet" {
        return message(format!("{} {:?} {} is not supported", target.mapping.resource(), target.name, ask.doing()));
    }
    let object = standing(api, &target).await?;
    for tries in 1.. {
        match once(api, change, &target, &object, ask).await {
            Err(e) if e.reason() == "Conflict" && tries < TRIES => {}
            other => return other,
        }
    }
    Ok(())
}

async fn once(api: &Api, args: &ChangeArgs, target: &Target, object: &Value, ask: Ask) -> Result<()> {
    let set: DaemonSet = read(object.clone())?;
    let policies = policies(api, &target.namespace).await?;
    let labels = set.metadata.labels.as_ref();
    let policy = decide::daemonset::choose(policies.iter().map(|(_, policy)| policy), &target.name, labels);
    let stored = policies.iter().find(|(_, p)| policy.is_some_and(|chosen| std::ptr::eq(chosen, p))).map(|(v, _)| v);
    let memory = policy.and_then(|p| p.memory(&target.name, set.metadata.uid.as_deref().unwrap_or_default()));
    let standing = Standing { policy, memory, observed: observed(object) };
    let wanted = standing
        .change(ask)
        .map_err(|why| Failure::Message(format!("{} {:?} {why}", target.mapping.resource(), target.name)))?;
    let Some(policy) = stored else { return make(api, args, target, ask, &wanted).await };
    let name = policy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let of_policy = Target { name, ..of_policy(target) };
    let made = match args.is_client() {
        true => policy.clone(),
        false => write(api, args, &of_policy, target, policy, &wanted).await?,
    };
    if wanted.spec.is_some() && !args.prints() {
        tell_others(api, &of_policy, &made, target, ask).await;
    }
    args.print_of(target, &of_policy, &made, ask.done())
}

/// All policies of a namespace, as they are stored and as they are read.
async fn policies(api: &Api, namespace: &str) -> Result<Vec<(Value, RolloutPolicy)>> {
    let list = api.list(&mapping().collection(Some(namespace)), &Query::new(), false, PAGE_OBJECTS).await;
    let mut list = match list {
        Err(e) if e.is_not_found() => {
            return message(format!(
                "the server has no {KIND}: install its definition first (everynode policy crd | kubectl apply -f -)"
            ));
        }
        other => other?,
    };
    let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    items.into_iter().map(|item| Ok((item.clone(), read(item)?))).collect()
}

fn mapping() -> Mapping {
    Mapping {
        group: GROUP.into(),
        version: VERSION.into(),
        kind: KIND.into(),
        plural: PLURAL.into(),
        namespaced: true,
        type_name: None,
    }
}

/// The policy of the name of a DaemonSet.
fn of_policy(target: &Target) -> Target {
    Target { mapping: mapping(), object: None, source: None, ..target.clone() }
}

/// Makes a policy that says what is asked and nothing else.
async fn make(api: &Api, args: &ChangeArgs, target: &Target, ask: Ask, wanted: &Change) -> Result<()> {
    let of_policy = of_policy(target);
    let mut policy = json!({
        "apiVersion": mapping().api_version(),
        "kind": KIND,
        "metadata": {"name": target.name, "namespace": target.namespace},
        "spec": {"targets": {"names": [target.name]}},
    });
    if let (Some(spec), Some(Value::Object(more))) = (policy["spec"].as_object_mut(), wanted.spec.clone()) {
        spec.extend(more);
    }
    if !args.is_client() {
        let path = mapping().collection(Some(&target.namespace));
        policy = match api.post(&path, &args.query(MANAGER), &policy).await {
            Err(e) if e.reason() == "AlreadyExists" => {
                return message(format!(
                    "{} exists and is for other DaemonSets: add {:?} to its spec.targets, or make a policy for it",
                    of_policy.word(),
                    target.name
                ));
            }
            other => other?,
        };
    }
    if !args.prints() {
        eprintln!("{} created for it", of_policy.word());
    }
    args.print_of(target, &of_policy, &policy, ask.done())
}

/// Changes the policy that there is; returns what it is then.
async fn write(
    api: &Api,
    args: &ChangeArgs,
    of_policy: &Target,
    target: &Target,
    stored: &Value,
    wanted: &Change,
) -> Result<Value> {
    let mut made = stored.clone();
    if let Some(note) = &wanted.note {
        note_down(&mut made, &target.name, note);
        let path = format!("{}/status", of_policy.path());
        made = api.put(&path, &args.query(MANAGER), &made).await?;
    }
    if let Some(spec) = &wanted.spec {
        let patch = json!({"spec": spec});
        made = api.patch(&of_policy.path(), &args.query(MANAGER), PatchKind::Merge, &patch).await?;
    }
    Ok(made)
}

fn note_down(policy: &mut Value, set: &str, note: &Note) {
    let entries = policy["status"]["daemonSets"].as_array_mut();
    if let Some(entry) = entries.into_iter().flatten().find(|entry| entry["name"] == set) {
        note.write(entry);
    }
}

/// Other DaemonSets whose rollouts the same field holds are named: the user may have meant one only.
async fn tell_others(api: &Api, of_policy: &Target, made: &Value, target: &Target, ask: Ask) {
    let Ok(policy) = read::<RolloutPolicy>(made.clone()) else { return };
    let path = target.mapping.collection(Some(&target.namespace));
    let Ok(sets) = api.list(&path, &Query::new(), false, PAGE_OBJECTS).await else { return };
    let sets: Vec<DaemonSet> = read(sets["items"].clone()).unwrap_or_default();
    let others: Vec<String> = sets
        .into_iter()
        .filter(|set| policy.targets(set.metadata.name.as_deref().unwrap_or_default(), set.metadata.labels.as_ref()))
        .filter_map(|set| set.metadata.name.filter(|name| *name != target.name))
        .collect();
    if !others.is_empty() {
        eprintln!("Warning: {} is also for {}: {} too", of_policy.word(), others.join(", "), ask.done());
    }
}
