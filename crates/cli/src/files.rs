//! Objects from `-f`: files, directories, standard input; YAML or JSON; many in one document stream or a `List`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Failure, Result, message};

/// What kubectl calls standard input.
const STDIN: &str = "STDIN";
/// Files that a directory is searched for.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];
/// A manifest is far smaller; this stops a wrong file from filling the memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Flags that name files.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FileArgs {
    /// File or directory with objects, or - for standard input (repeat or separate with commas)
    #[arg(short = 'f', long = "filename", value_name = "FILE", value_delimiter = ',')]
    pub(crate) filename: Vec<String>,
    /// Search directories in directories too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

impl FileArgs {
    /// Whether any was named.
    pub(crate) fn given(&self) -> bool {
        !self.filename.is_empty()
    }
}

/// One object and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) object: Value,
    pub(crate) source: String,
}

/// Reads all objects that the flags name, in order.
pub(crate) fn read(args: &FileArgs) -> Result<Vec<Document>> {
    if !args.given() {
        return message("must specify one of -f and -k");
    }
    let mut documents = Vec::new();
    for name in &args.filename {
        if name == "-" {
            read_text(&read_all(std::io::stdin(), STDIN)?, STDIN, &mut documents)?;
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            return message(format!("{name}: URLs are not read: fetch the file and give it with -f"));
        }
        for path in expand(Path::new(name), args.recursive)? {
            let source = path.display().to_string();
            let file = fs::File::open(&path).map_err(|e| Failure::Message(format!("{source}: {e}")))?;
            read_text(&read_all(file, &source)?, &source, &mut documents)?;
        }
    }
    if documents.is_empty() {
        return message("no objects passed to apply");
    }
    Ok(documents)
}

fn read_all(from: impl Read, source: &str) -> Result<String> {
    let mut text = String::new();
    let read = from.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let read = read.map_err(|e| Failure::Message(format!("{source}: {e}")))?;
    if read as u64 > FILE_BYTES_MAX {
        return message(format!("{source}: larger than {FILE_BYTES_MAX} bytes: not a manifest"));
    }
    Ok(text)
}

/// The file itself, or the manifests of the directory in the order of their names.
fn expand(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let shown = path.display();
    if !path.exists() {
        return message(format!("the path {:?} does not exist", shown.to_string()));
    }
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|e| Failure::Message(format!("{shown}: {e}")))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            if recursive {
                found.extend(expand(&path, true)?);
            }
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e)) {
            found.push(path);
        }
    }
    Ok(found)
}

fn read_text(text: &str, source: &str, documents: &mut Vec<Document>) -> Result<()> {
    let values = api::yaml::read_documents(text)
        .map_err(|e| Failure::Message(format!("error parsing {source}: error converting YAML to JSON: {e}")))?;
    for value in values {
        flatten(value, source, documents)?;
    }
    Ok(())
}

/// A `List` stands for its items; an empty document for nothing.
fn flatten(value: Value, source: &str, documents: &mut Vec<Document>) -> Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Object(mut object) => {
            let is_list = object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
            if is_list && let Some(Value::Array(items)) = object.remove("items") {
                for item in items {
                    flatten(item, source, documents)?;
                }
                return Ok(());
            }
            documents.push(Document { object: Value::Object(object), source: source.to_owned() });
            Ok(())
        }
        other => message(format!(
            "error parsing {source}: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            match other {
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Bool(_) => "bool",
                _ => "number",
            }
        )),
    }
}
