//! `get`: shows objects, as tables that the server makes or in whole.

use std::cmp::Ordering;

use futures::StreamExt;
use jiff::Timestamp;
use serde_json::Value;

use crate::client::{Api, PAGE_OBJECTS, Query, TABLE};
use crate::failure::{Failure, Result, message};
use crate::files::FileArgs;
use crate::jsonpath;
use crate::mapping::Mapping;
use crate::output::{Output, list_of, tidied};
use crate::table::{self, Printer, Style};
use crate::targets::{Named, SelectArgs, Target, Wanted, explain_list, find, read_words};

/// Flags of `get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE[,TYPE] [NAME...] or TYPE/NAME...
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// wide, name, json, yaml, jsonpath=TEMPLATE or custom-columns=NAME:PATH,...
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
    /// Then follow changes
    #[arg(short = 'w', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    watch: bool,
    /// Follow changes without showing what is there
    #[arg(long)]
    watch_only: bool,
    /// Sort by the field at this path
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// No line with the columns' names
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    no_headers: bool,
    /// A column with all labels
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    show_labels: bool,
    /// A column for each of these labels
    #[arg(short = 'L', long, value_name = "LABELS", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Names as type/name
    #[arg(long)]
    show_kind: bool,
    /// Keep managed fields in json and yaml
    #[arg(long)]
    show_managed_fields: bool,
    /// Objects that are not there are no failure
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    ignore_not_found: bool,
    /// Objects a request asks for; 0 for all at once
    #[arg(long, value_name = "COUNT", default_value_t = PAGE_OBJECTS)]
    chunk_size: u32,
    /// Show what the server answers at this path
    #[arg(long, value_name = "PATH")]
    raw: Option<String>,
}

/// Shows what is asked for.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    if let Some(path) = &args.raw {
        let bytes = api.raw(path).await?;
        return std::io::Write::write_all(&mut std::io::stdout(), &bytes).map_err(Failure::from);
    }
    let output = Output::parse(args.output.as_deref())?;
    if args.words.is_empty() && !args.files.given() {
        return Err(Failure::Bare(
            "You must specify the type of resource to get. Use \"everynode api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nSee 'everynode get -h' for help and examples".into(),
        ));
    }
    let queries = queries(api, args).await?;
    if args.watch || args.watch_only {
        return watch(api, args, &output, queries).await;
    }
    if output.is_table() {
        tables(api, args, &output, queries).await
    } else {
        objects(api, args, &output, queries).await
    }
}

/// What is asked of the server: a list, or one object.
enum Asked {
    List(Mapping),
    Object(Target),
}

impl Asked {
    fn mapping(&self) -> &Mapping {
        match self {
            Self::List(mapping) => mapping,
            Self::Object(target) => &target.mapping,
        }
    }
}

async fn queries(api: &Api, args: &Args) -> Result<Vec<Asked>> {
    if !args.files.given()
        && let Named::Types(types) = read_words(api, &args.words).await?
    {
        return Ok(types.into_iter().map(Asked::List).collect());
    }
    if args.select.all_namespaces && !args.files.given() {
        return message("a resource cannot be retrieved by name across all namespaces");
    }
    let wanted = Wanted { words: &args.words, files: &args.files, select: &args.select, all: false };
    Ok(find(api, &wanted).await?.into_iter().map(Asked::Object).collect())
}

async fn fetch(api: &Api, args: &Args, asked: &Asked, as_table: bool) -> Result<Value> {
    let mut query = Query::new();
    if as_table && args.sort_by.is_some() {
        query = query.with("includeObject", "Object");
    }
    match asked {
        Asked::Object(target) if as_table => api.get_table(&target.path(), &query).await,
        Asked::Object(target) => api.get(&target.path(), &query).await,
        Asked::List(mapping) => {
            let query = args
                .select
                .query()
                .with_some("includeObject", (as_table && args.sort_by.is_some()).then_some("Object"));
            let path = mapping.collection(args.select.namespace(api));
            let listed = api.list(&path, &query, as_table, args.chunk_size).await;
            listed.map_err(|e| explain_list(e, mapping, &args.select))
        }
    }
}

/// Tables: one for each run of objects of a kind.
async fn tables(api: &Api, args: &Args, output: &Output, queries: Vec<Asked>) -> Result<()> {
    let mut failures = Vec::new();
    let mut found: Vec<(Mapping, Value)> = Vec::new();
    let several = queries.windows(2).any(|two| two[0].mapping() != two[1].mapping());
    let namespaced = queries.iter().any(|asked| asked.mapping().namespaced);
    for asked in queries {
        let table = match fetch(api, args, &asked, true).await {
            Ok(answer) if answer["kind"] == "Table" => answer,
            Ok(answer) => table::of_objects(&answer, Timestamp::now()),
            Err(e) if e.is_not_found() && args.ignore_not_found => continue,
            Err(e) => {
                failures.push(e);
                continue;
            }
        };
        add_table(&mut found, asked.mapping(), table);
    }
    found.retain(|(_, table)| table["rows"].as_array().is_some_and(|rows| !rows.is_empty()));
    for (place, (mapping, table)) in found.iter_mut().enumerate() {
        if let Some(path) = &args.sort_by {
            sort_rows(table, path)?;
        }
        if place > 0 {
            println!();
        }
        print!("{}", Printer::default().render(table, &style(args, output, mapping, several)));
    }
    if found.is_empty() && failures.is_empty() && !args.ignore_not_found {
        if namespaced && !args.select.all_namespaces {
            eprintln!("No resources found in {} namespace.", api.namespace);
        } else {
            eprintln!("No resources found");
        }
    }
    Failure::of(failures)
}

/// Objects of the same kind share a table.
fn add_table(found: &mut Vec<(Mapping, Value)>, mapping: &Mapping, mut table: Value) {
    if let Some((last, first)) = found.last_mut()
        && last == mapping
        && let (Some(rows), Some(more)) = (first["rows"].as_array_mut(), table["rows"].as_array_mut())
    {
        rows.append(more);
        return;
    }
    found.push((mapping.clone(), table));
}

fn style(args: &Args, output: &Output, mapping: &Mapping, several: bool) -> Style {
    Style {
        wide: matches!(output, Output::Table { wide: true }),
        no_headers: args.no_headers,
        with_namespace: args.select.all_namespaces && mapping.namespaced,
        with_kind: (several || args.show_kind).then(|| mapping.word()),
        show_labels: args.show_labels,
        label_columns: args.label_columns.clone(),
    }
}

/// Objects in whole.
async fn objects(api: &Api, args: &Args, output: &Output, queries: Vec<Asked>) -> Result<()> {
    let mut failures = Vec::new();
    let mut items = Vec::new();
    let alone = matches!(queries.as_slice(), [Asked::Object(_)]);
    for asked in queries {
        let mapping = asked.mapping().clone();
        let tidy = |object: Value| tidied(object, Some(&mapping), args.show_managed_fields);
        match fetch(api, args, &asked, false).await {
            Ok(mut list) if matches!(asked, Asked::List(_)) => {
                let listed = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
                items.extend(listed.into_iter().map(tidy));
            }
            Ok(object) => items.push(tidy(object)),
            Err(e) if e.is_not_found() && args.ignore_not_found => {}
            Err(e) => failures.push(e),
        }
    }
    if let Some(path) = &args.sort_by {
        sort(&mut items, path, |item| item)?;
    }
    match (alone, items.pop()) {
        (true, Some(object)) => print!("{}", output.render(&object)?),
        (true, None) => {}
        (false, last) => {
            items.extend(last);
            if !items.is_empty() || failures.is_empty() {
                print!("{}", output.render(&list_of(items))?);
            }
        }
    }
    Failure::of(failures)
}

fn sort_rows(table: &mut Value, path: &str) -> Result<()> {
    match table["rows"].as_array_mut() {
        Some(rows) => sort(rows, path, |row| &row["object"]),
        None => Ok(()),
    }
}

/// Sorts by the first thing that the path finds; what lacks it comes first.
fn sort(items: &mut [Value], path: &str, object: impl Fn(&Value) -> &Value) -> Result<()> {
    let path = jsonpath::relaxed(path)?;
    let key =
        |item: &Value| jsonpath::find(&path, object(item)).ok().and_then(|found| found.first().map(|v| (*v).clone()));
    items.sort_by_cached_key(|item| key(item).map(|value| SortKey::of(&value)));
    Ok(())
}

/// Numbers by size, text with its numbers by size.
#[derive(Debug, PartialEq)]
enum SortKey {
    Number(f64),
    Text(Vec<(String, u128)>),
}

impl SortKey {
    fn of(value: &Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(number.as_f64().unwrap_or_default()),
            other => Self::Text(natural(&jsonpath::text(other))),
        }
    }
}

impl Eq for SortKey {}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // JSON has no NaN.
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `n-10` as (`n-`, 10), so that it stands after `n-9`.
fn natural(text: &str) -> Vec<(String, u128)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let after = rest[digits..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        parts.push((rest[..digits].to_owned(), rest[digits..after].parse().unwrap_or_default()));
        rest = &rest[after..];
    }
    parts
}

/// Shows one collection or object and then its changes, until the server ends it.
async fn watch(api: &Api, args: &Args, output: &Output, queries: Vec<Asked>) -> Result<()> {
    let [asked] = queries.as_slice() else {
        return message("you may only specify a single resource type");
    };
    let mapping = asked.mapping();
    let mut query = args.select.query();
    let path = match asked {
        Asked::List(mapping) => mapping.collection(args.select.namespace(api)),
        Asked::Object(target) => {
            query = query.with("fieldSelector", format!("metadata.name={}", target.name));
            mapping.collection(Some(&target.namespace))
        }
    };
    let mut screen =
        Screen { printer: Printer::default(), style: style(args, output, mapping, false), args, output, mapping };
    let first = api.list(&path, &query, output.is_table(), args.chunk_size).await?;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    if !args.watch_only {
        screen.first(first)?;
    }
    let query = query.with("watch", "true").with("resourceVersion", version);
    let accept = if output.is_table() { TABLE } else { "application/json" };
    let mut lines = api.lines(&path, &query, accept).await?;
    while let Some(line) = lines.next().await {
        let mut event: Value = serde_json::from_str(&line?)
            .map_err(|e| Failure::Message(format!("the server's event is not JSON: {e}")))?;
        match event["type"].as_str().unwrap_or_default() {
            "BOOKMARK" => {}
            "ERROR" => return Err(Failure::Status(Box::new(event["object"].take()))),
            _ => screen.show(event["object"].take())?,
        }
    }
    Ok(())
}

/// Where a watch prints to.
struct Screen<'a> {
    printer: Printer,
    style: Style,
    args: &'a Args,
    output: &'a Output,
    mapping: &'a Mapping,
}

impl Screen<'_> {
    fn first(&mut self, mut list: Value) -> Result<()> {
        if self.output.is_table() {
            let empty = list["rows"].as_array().is_some_and(Vec::is_empty);
            return if empty { Ok(()) } else { self.show(list) };
        }
        let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        items.into_iter().try_for_each(|item| self.show(item))
    }

    fn show(&mut self, value: Value) -> Result<()> {
        if self.output.is_table() {
            let table = if value["kind"] == "Table" { value } else { table::of_objects(&value, Timestamp::now()) };
            print!("{}", self.printer.render(&table, &self.style));
            self.style.no_headers = true;
        } else {
            let object = tidied(value, Some(self.mapping), self.args.show_managed_fields);
            print!("{}", self.output.render(&object)?);
        }
        std::io::Write::flush(&mut std::io::stdout()).map_err(Failure::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sorts_numbers_by_size_and_missing_first() {
        let mut items: Vec<Value> =
            ["n-10", "n-9", "a", "n-9b"].iter().map(|name| json!({"spec": {"nodeName": name}})).collect();
        items.push(json!({"x": 1}));
        sort(&mut items, ".spec.nodeName", |item| item).unwrap();
        let names: Vec<&str> = items.iter().map(|item| item["spec"]["nodeName"].as_str().unwrap_or("-")).collect();
        assert_eq!(names, ["-", "a", "n-9", "n-9b", "n-10"]);
        let mut items = vec![json!({"revision": 10}), json!({"revision": 9})];
        sort(&mut items, "revision", |item| item).unwrap();
        assert_eq!(items[0]["revision"], 9);
    }
}
