//! `taint`: sets and removes taints of nodes.

use api::validate::content::{label_key, label_value};
use serde_json::{Value, json};

use super::{ChangeArgs, each};
use crate::client::{Api, PatchKind};
use crate::failure::{Failure, Result, message};
use crate::files::FileArgs;
use crate::mapping;
use crate::targets::{SelectArgs, Target, Wanted, find};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Flags of `taint`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// nodes NAME..., then KEY=VALUE:EFFECT to set and KEY[:EFFECT]- to remove
    #[arg(value_name = "NODE NAME TAINT")]
    words: Vec<String>,
    /// Only nodes whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// Change the value of taints that are set already
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// A taint; one to remove may lack an effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

/// Changes each node.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let is_taint = |word: &String| word.contains(['=', ':']) || word.ends_with('-');
    let first = args.words.iter().position(is_taint).unwrap_or(args.words.len());
    let (resources, taints) = args.words.split_at(first);
    if let Some(late) = taints.iter().find(|word| !is_taint(word)) {
        return message(format!("all resources must be specified before taint changes: {late}"));
    }
    if resources.is_empty() {
        return message("one or more resources must be specified as <resource> <name>");
    }
    if taints.is_empty() {
        return message("at least one taint update is required");
    }
    let (add, remove) = parse(taints).map_err(|e| format!("{e}\nSee 'kubectl taint -h' for help and examples"))?;
    let twice = |gone: &&Taint| {
        add.iter().any(|new| new.key == gone.key && (gone.effect.is_empty() || new.effect == gone.effect))
    };
    let both: Vec<String> =
        remove.iter().filter(twice).map(|taint| format!("{}={}", taint.key, taint.effect)).collect();
    if !both.is_empty() {
        let both = both.join(", ");
        return message(format!("can not both modify and remove the following taint(s) in the same command: {both}"));
    }
    let kind = mapping::by_name(api, resources[0].split('/').next().unwrap_or_default()).await?;
    if kind.kind != "Node" || !kind.group.is_empty() {
        return message(format!("invalid resource type {}, only node types are supported", resources[0]));
    }
    let select = SelectArgs { selector: args.selector.clone(), ..SelectArgs::default() };
    let wanted = Wanted { words: resources, files: &FileArgs::default(), select: &select, all: args.all };
    if resources.len() < 2 && !resources[0].contains('/') && !args.all && args.selector.is_none() {
        return message("at least one resource name must be specified since 'all' parameter is not set");
    }
    let targets = find(api, &wanted).await?;
    each(targets, |target| one(api, args, &add, &remove, target)).await
}

fn parse(words: &[String]) -> std::result::Result<(Vec<Taint>, Vec<Taint>), String> {
    let (mut add, mut remove): (Vec<Taint>, Vec<Taint>) = (Vec::new(), Vec::new());
    for word in words {
        if let Some(gone) = word.strip_suffix('-') {
            remove.push(taint(gone)?);
            continue;
        }
        let taint = taint(word)?;
        if taint.effect.is_empty() {
            return Err(format!("invalid taint spec: {word}"));
        }
        if add.iter().any(|other| other.key == taint.key && other.effect == taint.effect) {
            return Err(format!("duplicated taints with the same key and effect: {word}"));
        }
        add.push(taint);
    }
    Ok((add, remove))
}

fn taint(text: &str) -> std::result::Result<Taint, String> {
    let bad = || format!("invalid taint spec: {text}");
    let (head, effect) = text.split_once(':').unwrap_or((text, ""));
    let (key, value) = match effect {
        "" => (head, ""),
        _ => head.split_once('=').unwrap_or((head, "")),
    };
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        return Err(if effect.contains(':') {
            bad()
        } else {
            format!("invalid taint effect: {effect}, unsupported taint effect")
        });
    }
    if value.contains('=') {
        return Err(bad());
    }
    let wrong: Vec<String> = label_key(key).into_iter().chain(label_value(value)).collect();
    if !wrong.is_empty() {
        return Err(format!("{}, {}", bad(), wrong.join("; ")));
    }
    Ok(Taint { key: key.into(), value: value.into(), effect: effect.into() })
}

async fn one(api: &Api, args: &Args, add: &[Taint], remove: &[Taint], target: Target) -> Result<()> {
    let node = match target.object.clone() {
        Some(node) => node,
        None => target.get(api).await?,
    };
    let have = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let (taints, done) = plan(&target.name, &have, add, remove, args.overwrite)?;
    if args.change.is_client() {
        return args.change.print_bare(&target, &node, done);
    }
    // The version makes the server refuse a list that was made from an older one.
    let version = &node["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
    let made = api.patch(&target.path(), &args.change.query("kubectl-taint"), PatchKind::Merge, &patch).await?;
    args.change.print_bare(&target, &made, done)
}

/// The node's new taints, and what to say of it.
fn plan(
    node: &str,
    have: &[Value],
    add: &[Taint],
    remove: &[Taint],
    overwrite: bool,
) -> Result<(Vec<Value>, &'static str)> {
    let is = |taint: &Taint, other: &Value| {
        other["key"] == taint.key.as_str() && (taint.effect.is_empty() || other["effect"] == taint.effect.as_str())
    };
    let there: Vec<&str> =
        add.iter().filter(|taint| have.iter().any(|other| is(taint, other))).map(|taint| taint.key.as_str()).collect();
    if !overwrite && !there.is_empty() {
        return message(format!(
            "node {node} already has {} taint(s) with same effect(s) and --overwrite is false",
            there.join(",")
        ));
    }
    let mut taints: Vec<Value> = add.iter().map(to_json).collect();
    taints.extend(have.iter().filter(|other| !add.iter().any(|taint| is(taint, other))).cloned());
    let added = taints.len() != have.len();
    let mut missing = Vec::new();
    let mut removed = false;
    for taint in remove {
        let before = taints.len();
        taints.retain(|other| !is(taint, other));
        removed = taints.len() != before;
        if !removed {
            let shown =
                if taint.effect.is_empty() { taint.key.clone() } else { format!("{}:{}", taint.key, taint.effect) };
            missing.push(Failure::Message(format!("taint {shown:?} not found")));
        }
    }
    Failure::of(missing)?;
    let done = match () {
        () if (added && removed) || overwrite => "modified",
        () if added => "tainted",
        () => "untainted",
    };
    Ok((taints, done))
}

fn to_json(taint: &Taint) -> Value {
    let mut json = json!({"key": taint.key, "effect": taint.effect});
    if !taint.value.is_empty() {
        json["value"] = taint.value.as_str().into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_and_says() {
        let have = [json!({"key": "a", "effect": "NoSchedule"}), json!({"key": "a", "effect": "NoExecute"})];
        type Case<'a> = (&'a str, bool, std::result::Result<(usize, &'a str), &'a str>);
        let cases: [Case<'_>; 9] = [
            ("b=c:NoSchedule", false, Ok((3, "tainted"))),
            ("a-", false, Ok((0, "untainted"))),
            ("a:NoExecute-", false, Ok((1, "untainted"))),
            (
                "a=x:NoSchedule",
                false,
                Err("error: node n already has a taint(s) with same effect(s) and --overwrite is false"),
            ),
            ("a=x:NoSchedule", true, Ok((2, "modified"))),
            ("b:NoSchedule a-", false, Ok((1, "modified"))),
            ("z-", false, Err("error: taint \"z\" not found")),
            ("a=b:Nope", false, Err("error: invalid taint effect: Nope, unsupported taint effect")),
            ("a=b", false, Err("error: invalid taint spec: a=b")),
        ];
        for (text, overwrite, want) in cases {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let got = parse(&words)
                .map_err(Failure::Message)
                .and_then(|(add, remove)| plan("n", &have, &add, &remove, overwrite));
            match (got, want) {
                (Ok((taints, done)), Ok(want)) => assert_eq!((taints.len(), done), want, "{text}"),
                (Err(e), Err(want)) => assert!(e.text().starts_with(want), "{text}: {}", e.text()),
                (got, want) => panic!("{text}: {got:?}, want {want:?}"),
            }
        }
    }
}
