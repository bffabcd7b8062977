//! Who writes, from the query and the headers of a request.
//!
//! # Invariants
//! The names are those that Kubernetes would give: the parameter, or what the client calls itself.

use api::apply::{Writer, manager_fault, manager_of_agent};
use api::status::{self, Status};
use api::validate::{FieldError, Path};
use http::HeaderMap;
use http::header::USER_AGENT;

use super::write::{Part, now};
use crate::request::Query;

/// Who writes, and when.
#[derive(Debug, Clone)]
pub(crate) struct FieldManager {
    name: String,
    now: String,
    /// Whether an apply takes what others manage.
    pub(super) force: bool,
}

impl FieldManager {
    /// Who creates, updates, or patches otherwise than by an apply. `options` names the kind of the request's options.
    ///
    /// # Errors
    /// 422 for a name that can't be one, and for `force`.
    pub(crate) fn of_write(query: &Query, headers: &HeaderMap, options: &str) -> Result<FieldManager, Status> {
        let asked = query.get("fieldManager").unwrap_or_default();
        let mut faults: Vec<FieldError> = manager_fault(asked).into_iter().collect();
        if options == "PatchOptions" && query.get("force").is_some() {
            faults.push(FieldError::forbidden(&Path::root("force"), "may not be specified for non-apply patch"));
        }
        refuse(options, &faults)?;
        let agent = || headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let name = if asked.is_empty() { manager_of_agent(agent()) } else { asked.to_owned() };
        Ok(FieldManager { name, now: now(), force: false })
    }

    /// Who applies, which must have a name.
    ///
    /// # Errors
    /// 422 for a name that can't be one.
    pub(super) fn of_apply(query: &Query) -> Result<FieldManager, Status> {
        let name = query.get("fieldManager").unwrap_or_default();
        let mut faults: Vec<FieldError> = manager_fault(name).into_iter().collect();
        if name.is_empty() {
            faults.push(FieldError::required(&Path::root("fieldManager"), "is required for apply patch"));
        }
        refuse("PatchOptions", &faults)?;
        Ok(FieldManager { name: name.to_owned(), now: now(), force: query.flag("force") })
    }

    /// The server itself.
    pub(crate) fn server() -> FieldManager {
        FieldManager { name: "everynode".to_owned(), now: now(), force: false }
    }

    /// As a writer of a part of an object.
    pub(crate) fn writer(&self, part: Part) -> Writer<'_> {
        self.writer_of(part.subresource())
    }

    /// As a writer of a subresource.
    pub(super) fn writer_of<'a>(&'a self, subresource: &'a str) -> Writer<'a> {
        Writer { manager: &self.name, subresource, now: &self.now }
    }
}

fn refuse(options: &str, faults: &[FieldError]) -> Result<(), Status> {
    match faults {
        [] => Ok(()),
        faults => Err(status::invalid("meta.k8s.io", options, "", faults)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(query: &str, agent: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, agent.parse().unwrap());
        FieldManager::of_write(&Query::parse(Some(query)), &headers, "PatchOptions")
            .map(|manager| manager.writer(Part::Whole).manager.to_owned())
            .map_err(|status| status.message().to_owned())
    }

    #[test]
    fn managers_of_writes() {
        for (query, agent, want) in [
            ("fieldManager=me", "kubectl/v1.32.0", Ok("me")),
            ("", "kubectl/v1.32.0 (linux/amd64)", Ok("kubectl")),
            ("", "", Ok("")),
            (
                "force=true",
                "",
                Err(
                    "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
                ),
            ),
        ] {
            assert_eq!(name(query, agent), want.map(str::to_owned).map_err(str::to_owned), "{query}");
        }
        assert!(name(&format!("fieldManager={}", "x".repeat(129)), "").is_err());
    }

    #[test]
    fn managers_of_applies() {
        let missing = FieldManager::of_apply(&Query::parse(None)).unwrap_err();
        let want =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        assert_eq!((missing.code, missing.message()), (422, want));
        let forced = FieldManager::of_apply(&Query::parse(Some("fieldManager=me&force=true"))).unwrap();
        assert!(forced.force);
    }
}
