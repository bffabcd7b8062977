//! Roles and bindings in memory, by who they bind.
//!
//! # Invariants
//! - It holds exactly what the applied changes left: a binding that is gone is found under none of its subjects.
//! - A role that a binding names and that is not there allows nothing.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use api::quote::quoted;
use api::rbac::{GROUP, Rule};
use serde_json::Value;

use crate::auth::User;

/// Namespace, empty for the cluster, and name.
type Id = (String, String);

/// Whom a binding binds, as users carry it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Subject {
    key: Key,
    /// As allowed requests name it.
    shown: String,
}

#[derive(Debug)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// The role that a binding names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleRef {
    /// Whether it is a cluster role.
    pub(crate) cluster: bool,
    /// Its name.
    pub(crate) name: String,
}

impl RoleRef {
    /// The `roleRef` of a binding.
    pub(crate) fn of(binding: &Value) -> RoleRef {
        let role = &binding["roleRef"];
        RoleRef { cluster: role["kind"] == "ClusterRole", name: role["name"].as_str().unwrap_or_default().to_owned() }
    }

    /// That there is no such role, in Kubernetes' words.
    pub(crate) fn missing(&self) -> String {
        let kind = if self.cluster { "clusterrole" } else { "role" };
        format!("{kind}.{GROUP} {} not found", quoted(&self.name))
    }
}

/// One binding that binds a user, with the rules of its role if that is there.
pub(crate) struct Grant<'a> {
    id: &'a Id,
    binding: &'a Binding,
    subject: &'a Subject,
    /// The rules.
    pub(crate) rules: Option<&'a Arc<[Rule]>>,
}

impl Grant<'_> {
    /// Why a request is allowed, in Kubernetes' words.
    pub(crate) fn reason(&self) -> String {
        let (namespace, name) = self.id;
        let (kind, name) = match namespace.as_str() {
            "" => ("ClusterRoleBinding", name.clone()),
            namespace => ("RoleBinding", format!("{name}/{namespace}")),
        };
        let role = if self.binding.role.cluster { "ClusterRole" } else { "Role" };
        let (name, role_name) = (quoted(&name), quoted(&self.binding.role.name));
        format!("RBAC: allowed by {kind} {name} of {role} {role_name} to {}", self.subject.shown)
    }

    /// Why the binding allows nothing.
    pub(crate) fn missing(&self) -> String {
        self.binding.role.missing()
    }
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Cluster roles are under the empty namespace.
    roles: HashMap<Id, Arc<[Rule]>>,
    bindings: HashMap<Id, Binding>,
    bound: HashMap<Key, BTreeSet<Id>>,
}

impl Index {
    /// Takes over what stands at a key now; None when it is gone. Keys of other kinds are passed over.
    pub(crate) fn apply(&mut self, key: &str, object: Option<&Value>) {
        let Some((plural, id)) = parse(key) else { return };
        match plural {
            "clusterroles" | "roles" => match object {
                Some(role) => {
                    self.roles.insert(id, Rule::of_role(role).into());
                }
                None => {
                    self.roles.remove(&id);
                }
            },
            _ => {
                self.unbind(&id);
                if let Some(binding) = object {
                    self.bind(id, binding);
                }
            }
        }
    }

    fn unbind(&mut self, id: &Id) {
        let Some(binding) = self.bindings.remove(id) else { return };
        for subject in binding.subjects {
            if let Some(ids) = self.bound.get_mut(&subject.key) {
                ids.remove(id);
                if ids.is_empty() {
                    self.bound.remove(&subject.key);
                }
            }
        }
    }

    fn bind(&mut self, id: Id, binding: &Value) {
        let list = binding["subjects"].as_array().into_iter().flatten();
        let subjects: Vec<Subject> = list.filter_map(|s| subject(s, &id.0)).collect();
        for subject in &subjects {
            self.bound.entry(subject.key.clone()).or_default().insert(id.clone());
        }
        self.bindings.insert(id, Binding { role: RoleRef::of(binding), subjects });
    }

    /// The rules of a role that a binding in `namespace` (empty for the cluster) names.
    pub(crate) fn role(&self, role: &RoleRef, namespace: &str) -> Option<&Arc<[Rule]>> {
        let namespace = if role.cluster { "" } else { namespace };
        self.roles.get(&(namespace.to_owned(), role.name.clone()))
    }

    /// Shows every binding that holds for a user in a namespace (empty for the cluster alone), those of the cluster
    /// first, until told to stop.
    pub(crate) fn visit<B>(
        &self,
        user: &User,
        namespace: &str,
        mut see: impl FnMut(Grant<'_>) -> ControlFlow<B>,
    ) -> Option<B> {
        let user_key = Key::User(user.name.clone());
        let keys = std::iter::once(user_key).chain(user.groups.iter().map(|g| Key::Group(g.clone())));
        let mut ids: BTreeSet<&Id> = BTreeSet::new();
        for key in keys {
            let of_key = self.bound.get(&key).into_iter().flatten();
            ids.extend(of_key.filter(|(at, _)| at.is_empty() || at == namespace));
        }
        for id in ids {
            let Some(binding) = self.bindings.get(id) else { continue };
            let Some(subject) = binding.subjects.iter().find(|s| binds(&s.key, user)) else { continue };
            let rules = self.role(&binding.role, &id.0);
            if let ControlFlow::Break(found) = see(Grant { id, binding, subject, rules }) {
                return Some(found);
            }
        }
        None
    }
}

fn binds(key: &Key, user: &User) -> bool {
    match key {
        Key::User(name) => *name == user.name,
        Key::Group(name) => user.is_in(name),
    }
}

fn subject(subject: &Value, namespace: &str) -> Option<Subject> {
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    let name = text("name");
    Some(match text("kind") {
        "User" => Subject { key: Key::User(name.to_owned()), shown: format!("User {}", quoted(name)) },
        "Group" => Subject { key: Key::Group(name.to_owned()), shown: format!("Group {}", quoted(name)) },
        "ServiceAccount" => {
            let own = Some(text("namespace")).filter(|n| !n.is_empty()).unwrap_or(namespace);
            Subject {
                key: Key::User(format!("system:serviceaccount:{own}:{name}")),
                shown: format!("ServiceAccount {}", quoted(&format!("{name}/{own}"))),
            }
        }
        _ => return None,
    })
}

/// The prefix of the keys of all roles and bindings.
pub(crate) const PREFIX: &str = "/registry/rbac.authorization.k8s.io/";

/// Plural, namespace and name in a key.
fn parse(key: &str) -> Option<(&str, Id)> {
    let (plural, rest) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let id = match rest.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (String::new(), rest.to_owned()),
    };
    Some((plural, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index() -> Index {
        let mut index = Index::default();
        let rules = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
        index.apply(&format!("{PREFIX}clusterroles/reader"), Some(&rules));
        index.apply(&format!("{PREFIX}roles/a/local"), Some(&rules));
        let binding = |kind: &str, role: &str, subject: Value| json!({"roleRef": {"kind": kind, "name": role}, "subjects": [subject]});
        let alice = binding("ClusterRole", "reader", json!({"kind": "User", "name": "alice"}));
        index.apply(&format!("{PREFIX}clusterrolebindings/all"), Some(&alice));
        let account = binding("Role", "local", json!({"kind": "ServiceAccount", "name": "x"}));
        index.apply(&format!("{PREFIX}rolebindings/a/b"), Some(&account));
        let nothing = binding("Role", "gone", json!({"kind": "Group", "name": "dev"}));
        index.apply(&format!("{PREFIX}rolebindings/a/c"), Some(&nothing));
        index
    }

    fn seen(index: &Index, user: &User, namespace: &str) -> Vec<String> {
        let mut out = Vec::new();
        index.visit(user, namespace, |grant| -> ControlFlow<()> {
            out.push(if grant.rules.is_some() { grant.reason() } else { grant.missing() });
            ControlFlow::Continue(())
        });
        out
    }

    #[test]
    fn bindings_are_found_by_whom_they_bind_and_where() {
        let mut index = index();
        let user = |name: &str, groups: &[&str]| {
            User::known(name.to_owned(), String::new(), groups.iter().map(|g| (*g).to_owned()).collect())
        };
        let alice = r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to User "alice""#;
        let account = r#"RBAC: allowed by RoleBinding "b/a" of Role "local" to ServiceAccount "x/a""#;
        let gone = r#"role.rbac.authorization.k8s.io "gone" not found"#;
        for (user, namespace, expect) in [
            (user("alice", &[]), "", vec![alice]),
            (user("alice", &["dev"]), "a", vec![alice, gone]),
            (user("alice", &["dev"]), "b", vec![alice]),
            (user("system:serviceaccount:a:x", &[]), "a", vec![account]),
            (user("system:serviceaccount:a:x", &[]), "", vec![]),
            (user("system:serviceaccount:b:x", &[]), "a", vec![]),
        ] {
            assert_eq!(seen(&index, &user, namespace), expect, "{} {namespace}", user.name);
        }
        index.apply(&format!("{PREFIX}clusterrolebindings/all"), None);
        assert!(seen(&index, &user("alice", &[]), "").is_empty());
        assert_eq!(index.bound.len(), 2);
    }
}
