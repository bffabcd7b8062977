//! `api-resources` and `api-versions`: what the server serves.

use serde_json::Value;

use crate::client::{Api, Query};
use crate::columns;
use crate::failure::Result;
use crate::mapping;

/// Flags of `api-resources`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those of this group
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only those that live in a namespace, or only those that don't
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    namespaced: Option<bool>,
    /// name or wide
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
    /// No line with the columns' names
    #[arg(long)]
    no_headers: bool,
}

/// Lists the resources.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let wide = args.output.as_deref() == Some("wide");
    let mut lines = Vec::new();
    if !args.no_headers && args.output.as_deref() != Some("name") {
        let more = if wide { "\tVERBS\tCATEGORIES" } else { "" };
        lines.push(format!("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND{more}"));
    }
    let mut groups = preferred(api).await?;
    groups.sort_by_key(|group_version| api::kinds::split_api_version(group_version).0.to_owned());
    for group_version in groups {
        let group = api::kinds::split_api_version(&group_version).0.to_owned();
        if args.api_group.as_ref().is_some_and(|wanted| *wanted != group) {
            continue;
        }
        let mut rows = mapping::resources(api, &group_version).await?;
        rows.sort_by_key(|row| row["name"].as_str().unwrap_or_default().to_owned());
        for row in rows.iter().filter(|row| is_shown(row, args)) {
            lines.push(line(row, &group, &group_version, args.output.as_deref()));
        }
    }
    print!("{}", columns::align(&(lines.join("\n") + "\n"), 6, 3));
    Ok(())
}

fn is_shown(row: &Value, args: &Args) -> bool {
    let whole = row["name"].as_str().is_some_and(|name| !name.contains('/'));
    let lives = row["namespaced"].as_bool().unwrap_or_default();
    whole && args.namespaced.is_none_or(|wanted| wanted == lives)
}

fn line(row: &Value, group: &str, group_version: &str, output: Option<&str>) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let list =
        |name: &str| row[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    if output == Some("name") {
        return if group.is_empty() { text("name").to_owned() } else { format!("{}.{group}", text("name")) };
    }
    let more =
        if output == Some("wide") { format!("\t{}\t{}", list("verbs"), list("categories")) } else { String::new() };
    format!("{}\t{}\t{group_version}\t{}\t{}{more}", text("name"), list("shortNames"), row["namespaced"], text("kind"))
}

/// The preferred version of each group, the core group first.
async fn preferred(api: &Api) -> Result<Vec<String>> {
    let groups = api.get("/apis", &Query::new()).await?;
    let versions = groups["groups"].as_array().into_iter().flatten();
    let names = versions.filter_map(|group| group["preferredVersion"]["groupVersion"].as_str());
    Ok(std::iter::once("v1").chain(names).map(str::to_owned).collect())
}

/// Lists the group versions.
pub(crate) async fn versions(api: &Api) -> Result<()> {
    let groups = api.get("/apis", &Query::new()).await?;
    let mut all: Vec<String> = groups["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["versions"].as_array().cloned().unwrap_or_default())
        .filter_map(|version| version["groupVersion"].as_str().map(str::to_owned))
        .chain(["v1".to_owned()])
        .collect();
    all.sort();
    all.iter().for_each(|version| println!("{version}"));
    Ok(())
}
