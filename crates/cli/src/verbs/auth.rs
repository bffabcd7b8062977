//! `auth can-i`: whether the user may do something, and `auth whoami`.

use serde_json::json;

use crate::client::{Api, Query};
use crate::failure::{Failure, Result, message};
use crate::mapping;

/// What is asked.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Part {
    /// Whether the user may do something
    CanI(CanI),
    /// Who the user is
    Whoami,
}

/// Flags of `auth`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

/// Flags of `auth can-i`.
#[derive(Debug, clap::Args)]
pub(crate) struct CanI {
    /// VERB, then TYPE, TYPE/NAME or a path of the server
    #[arg(value_name = "VERB TYPE")]
    words: Vec<String>,
    /// A part of the object, such as log
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Say nothing; the exit code is the answer
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Asks the server.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    match &args.part {
        Part::CanI(args) => can_i(api, args).await,
        Part::Whoami => whoami(api).await,
    }
}

async fn can_i(api: &Api, args: &CanI) -> Result<()> {
    let [verb, rest @ ..] = args.words.as_slice() else {
        return message("you must specify two or three arguments: verb, resource, and optional resourceName");
    };
    let (what, name) = match rest {
        [what] => what.split_once('/').filter(|(kind, _)| !kind.is_empty()).unwrap_or((what, "")),
        [what, name] => (what.as_str(), name.as_str()),
        _ => return message("you must specify two or three arguments: verb, resource, and optional resourceName"),
    };
    let spec = if what.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": verb, "path": what}})
    } else {
        let (group, plural, namespaced) = match what {
            "*" => ("*".to_owned(), "*".to_owned(), true),
            _ => {
                let mapping = mapping::by_name(api, what).await?;
                (mapping.group, mapping.plural, mapping.namespaced)
            }
        };
        let namespace = if args.all_namespaces || !namespaced { "" } else { api.namespace.as_str() };
        let subresource = args.subresource.as_deref().unwrap_or_default();
        json!({"resourceAttributes": {
            "verb": verb, "group": group, "resource": plural, "subresource": subresource, "name": name, "namespace": namespace,
        }})
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = api.post(path, &Query::new(), &review).await?;
    let allowed = answer["status"]["allowed"] == true;
    if !args.quiet {
        let reason = answer["status"]["reason"].as_str().filter(|reason| !allowed && !reason.is_empty());
        println!("{}{}", if allowed { "yes" } else { "no" }, reason.map(|r| format!(" - {r}")).unwrap_or_default());
    }
    if allowed { Ok(()) } else { Err(Failure::Silent) }
}

async fn whoami(api: &Api) -> Result<()> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &Query::new(), &review).await?;
    let user = &answer["status"]["userInfo"];
    let groups: Vec<&str> =
        user["groups"].as_array().into_iter().flatten().filter_map(|group| group.as_str()).collect();
    let text = format!(
        "ATTRIBUTE\tVALUE\nUsername\t{}\nGroups\t[{}]\n",
        user["username"].as_str().unwrap_or_default(),
        groups.join(" ")
    );
    print!("{}", crate::columns::align(&text, 6, 3));
    Ok(())
}
