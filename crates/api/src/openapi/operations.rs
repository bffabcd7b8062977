//! Operations of kinds, apart from how a version of OpenAPI writes them.
//!
//! Invariants: one operation for a path and method.
//! Absent: schemas.

use super::parameters::{self, Parameter};
use crate::kinds::{Kind, Subresource, Verb};

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestBody {
    None,
    /// An object of this type.
    Object(&'static str),
    /// A patch in any of the patch types.
    Patch,
    /// A patch of a custom object, whose lists have no merge keys.
    CustomPatch,
    /// Options of a deletion; may be left out.
    DeleteOptions,
}

/// What an answer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResponseBody {
    /// An object of this type.
    Object(String),
    /// A list of this type, or a stream of its changes.
    ListOrWatch(String),
    /// Plain text.
    Text,
}

/// One method of one path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) path: String,
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) action: &'static str,
    /// Group, version and kind.
    pub(super) gvk: (&'static str, &'static str, &'static str),
    pub(super) query: &'static [Parameter],
    pub(super) request: RequestBody,
    pub(super) codes: &'static [&'static str],
    pub(super) response: ResponseBody,
}

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const OK: &[&str] = &["200"];
const WRITTEN: &[&str] = &["200", "201"];
const CREATED: &[&str] = &["200", "201", "202"];
const DELETED: &[&str] = &["200", "202"];

/// All operations of a kind.
pub(super) fn of_kind(kind: &Kind) -> Vec<Operation> {
    let writer = Writer::new(kind);
    let mut operations = Vec::new();
    writer.collection(&mut operations);
    writer.object(&mut operations);
    for &subresource in kind.subresources {
        writer.subresource(subresource, &mut operations);
    }
    operations
}

/// `CoreV1`, `AppsV1`, `RbacAuthorizationV1`: what identifiers of operations start with.
pub(super) fn group_id(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split('.').chain([version]).map(capitalized).collect()
}

/// `core_v1`, `apps_v1`, `rbacAuthorization_v1`: the tag of operations.
pub(super) fn tag(group: &str, version: &str) -> String {
    let id = group_id(group, version);
    let group = &id[..id.len() - version.len()];
    let mut letters = group.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_lowercase).collect();
    format!("{first}{}_{version}", letters.as_str())
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    first + letters.as_str()
}

struct Writer<'a> {
    kind: &'a Kind,
    /// `AppsV1`
    group_id: String,
    /// `NamespacedDaemonSet`
    name: String,
    /// Path of the collection.
    collection: String,
}

impl<'a> Writer<'a> {
    fn new(kind: &'a Kind) -> Self {
        let root = super::root_path(kind.group, kind.version);
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let name = if kind.namespaced { format!("Namespaced{}", kind.kind) } else { kind.kind.to_owned() };
        Writer {
            kind,
            group_id: group_id(kind.group, kind.version),
            name,
            collection: format!("/{root}{scope}/{}", kind.plural),
        }
    }

    fn list_type(&self) -> ResponseBody {
        ResponseBody::ListOrWatch(match self.kind.custom {
            Some(_) => super::custom::list_type(self.kind),
            None => format!("{}List", self.kind.type_name),
        })
    }

    fn this(&self) -> ResponseBody {
        ResponseBody::Object(self.kind.type_name.to_owned())
    }

    fn gvk(&self) -> (&'static str, &'static str, &'static str) {
        (self.kind.group, self.kind.version, self.kind.kind)
    }

    fn collection(&self, out: &mut Vec<Operation>) {
        let Writer { kind, group_id, name, collection } = self;
        let base = |method, verb: &str, action| Operation {
            path: collection.clone(),
            method,
            id: format!("{verb}{group_id}{name}"),
            action,
            gvk: self.gvk(),
            query: &[],
            request: RequestBody::None,
            codes: OK,
            response: self.list_type(),
        };
        if kind.can(Verb::List) {
            out.push(Operation { query: parameters::LIST, ..base("get", "list", "list") });
            if kind.namespaced {
                let root = super::root_path(kind.group, kind.version);
                out.push(Operation {
                    path: format!("/{root}/{}", kind.plural),
                    id: format!("list{group_id}{}ForAllNamespaces", kind.kind),
                    query: parameters::LIST,
                    ..base("get", "list", "list")
                });
            }
        }
        if kind.can(Verb::Create) {
            out.push(Operation {
                query: parameters::WRITE,
                request: RequestBody::Object(kind.type_name),
                codes: CREATED,
                response: self.this(),
                ..base("post", "create", "post")
            });
        }
        if kind.can(Verb::DeleteCollection) {
            out.push(Operation {
                id: format!("delete{group_id}Collection{name}"),
                query: parameters::DELETE_COLLECTION,
                request: RequestBody::DeleteOptions,
                response: ResponseBody::Object(STATUS.to_owned()),
                ..base("delete", "delete", "deletecollection")
            });
        }
    }

    fn object(&self, out: &mut Vec<Operation>) {
        let path = format!("{}/{{name}}", self.collection);
        if self.kind.can(Verb::Get) {
            self.read_and_write(&path, "", self.gvk(), self.kind.type_name, out);
        }
        if self.kind.can(Verb::Delete) {
            out.push(Operation {
                path,
                method: "delete",
                id: format!("delete{}{}", self.group_id, self.name),
                action: "delete",
                gvk: self.gvk(),
                query: parameters::DELETE,
                request: RequestBody::DeleteOptions,
                codes: DELETED,
                response: match self.kind.returns_deleted_object() {
                    true => self.this(),
                    false => ResponseBody::Object(STATUS.to_owned()),
                },
            });
        }
    }

    /// GET, PUT and PATCH.
    fn read_and_write(
        &self,
        path: &str,
        suffix: &str,
        gvk: (&'static str, &'static str, &'static str),
        type_name: &'static str,
        out: &mut Vec<Operation>,
    ) {
        let patch = if self.kind.custom.is_some() { RequestBody::CustomPatch } else { RequestBody::Patch };
        let rows: [(_, _, &'static [Parameter], _, _); 3] = [
            ("get", "read", &[], RequestBody::None, OK),
            ("put", "replace", parameters::WRITE, RequestBody::Object(type_name), WRITTEN),
            ("patch", "patch", parameters::PATCH, patch, WRITTEN),
        ];
        for (method, verb, query, request, codes) in rows {
            out.push(Operation {
                path: path.to_owned(),
                method,
                id: format!("{verb}{}{}{suffix}", self.group_id, self.name),
                action: method,
                gvk,
                query,
                request,
                codes,
                response: ResponseBody::Object(type_name.to_owned()),
            });
        }
    }

    fn subresource(&self, subresource: Subresource, out: &mut Vec<Operation>) {
        let path = format!("{}/{{name}}/{}", self.collection, subresource.as_str());
        let gvk = subresource.body().unwrap_or(self.gvk());
        let suffix = match subresource {
            Subresource::EphemeralContainers => "Ephemeralcontainers".to_owned(),
            Subresource::PortForward => "Portforward".to_owned(),
            other => capitalized(other.as_str()),
        };
        match subresource {
            Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize
            | Subresource::Scale
            | Subresource::Status => {
                let type_name = subresource.body_kind().map_or(self.kind.type_name, |kind| kind.type_name);
                self.read_and_write(&path, &suffix, gvk, type_name, out);
            }
            Subresource::Finalize => {
                let mut all = Vec::new();
                self.read_and_write(&path, &suffix, gvk, self.kind.type_name, &mut all);
                out.extend(all.into_iter().filter(|operation| operation.method == "put"));
            }
            Subresource::Binding | Subresource::Eviction | Subresource::Token => {
                let type_name = subresource.body_kind().map_or(self.kind.type_name, |kind| kind.type_name);
                out.push(Operation {
                    path,
                    method: "post",
                    id: format!("create{}{}{suffix}", self.group_id, self.name),
                    action: "post",
                    gvk,
                    query: parameters::WRITE,
                    request: RequestBody::Object(type_name),
                    codes: CREATED,
                    response: ResponseBody::Object(type_name.to_owned()),
                });
            }
            Subresource::Log => out.push(Operation {
                path,
                method: "get",
                id: format!("read{}{}{suffix}", self.group_id, self.name),
                action: "get",
                gvk,
                query: parameters::LOG,
                request: RequestBody::None,
                codes: OK,
                response: ResponseBody::Text,
            }),
            Subresource::Attach => self.connect(&path, &suffix, &["get", "post"], gvk, parameters::ATTACH, out),
            Subresource::Exec => self.connect(&path, &suffix, &["get", "post"], gvk, parameters::EXEC, out),
            Subresource::PortForward => {
                self.connect(&path, &suffix, &["get", "post"], gvk, parameters::PORT_FORWARD, out);
            }
            Subresource::Proxy => {
                let methods = &["delete", "get", "patch", "post", "put"];
                let options = match self.kind.kind {
                    "Node" => "NodeProxyOptions",
                    "Pod" => "PodProxyOptions",
                    _ => "ServiceProxyOptions",
                };
                self.connect(&path, &suffix, methods, ("", "v1", options), parameters::PROXY, out);
            }
        }
    }

    /// Methods that end in a stream.
    fn connect(
        &self,
        path: &str,
        suffix: &str,
        methods: &[&'static str],
        gvk: (&'static str, &'static str, &'static str),
        query: &'static [Parameter],
        out: &mut Vec<Operation>,
    ) {
        for &method in methods {
            out.push(Operation {
                path: path.to_owned(),
                method,
                id: format!("connect{}{}{}{suffix}", self.group_id, capitalized(method), self.name),
                action: "connect",
                gvk,
                query,
                request: RequestBody::None,
                codes: OK,
                response: ResponseBody::Text,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (group, version, id, tag_name) in [
            ("", "v1", "CoreV1", "core_v1"),
            ("apps", "v1", "AppsV1", "apps_v1"),
            ("rbac.authorization.k8s.io", "v1", "RbacAuthorizationV1", "rbacAuthorization_v1"),
            ("autoscaling", "v2", "AutoscalingV2", "autoscaling_v2"),
            ("flowcontrol.apiserver.k8s.io", "v1", "FlowcontrolApiserverV1", "flowcontrolApiserver_v1"),
        ] {
            assert_eq!((group_id(group, version).as_str(), tag(group, version).as_str()), (id, tag_name));
        }
    }
}
