//! Acting as someone else: `kubectl --as`.
//!
//! # Invariants
//! Each thing that is taken on (name, groups, uid, extras) is asked for on its own.

use std::collections::BTreeMap;

use api::rbac::Asked;
use api::status::{self, Attempt, Status};
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::{AUTHENTICATED, Access, Attributes, Decision, UNAUTHENTICATED, User};

/// What begins the names of service accounts as users.
const ACCOUNT: &str = "system:serviceaccount:";
/// What begins the headers that carry extras.
const EXTRA: &str = "impersonate-extra-";

/// The user that the headers name instead of `user`, or `user` itself.
///
/// # Errors
/// 403 for those who may not impersonate, 400 for groups, a uid or extras without a user.
pub(crate) fn impersonate(access: &Access, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
    let groups: Vec<String> =
        headers.get_all("impersonate-group").iter().filter_map(|v| v.to_str().ok()).map(String::from).collect();
    let uid = text("impersonate-uid").unwrap_or_default();
    let extra = extras(headers);
    let Some(name) = text("impersonate-user") else {
        return match groups.is_empty() && uid.is_empty() && extra.is_empty() {
            true => Ok(user),
            false => Err(status::bad_request("requested impersonation of groups, a uid or extras without a user")),
        };
    };
    let account = name.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => must(access, &user, ("", "serviceaccounts", "", name), namespace)?,
        None => must(access, &user, ("", "users", "", name), "")?,
    }
    for group in &groups {
        must(access, &user, ("", "groups", "", group), "")?;
    }
    if !uid.is_empty() {
        must(access, &user, ("authentication.k8s.io", "uids", "", uid), "")?;
    }
    for (key, values) in &extra {
        for value in values {
            must(access, &user, ("authentication.k8s.io", "userextras", key, value), "")?;
        }
    }
    let mut groups = groups;
    if let (Some((namespace, _)), true) = (account, groups.is_empty()) {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let own = if name == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|g| g == AUTHENTICATED || g == UNAUTHENTICATED) {
        groups.push(own.to_owned());
    }
    Ok(User { name: name.to_owned(), uid: uid.to_owned(), groups, extra })
}

/// Keys are escaped as in a path, since headers know no upper case and few characters.
fn extras(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            out.entry(key).or_default().push(value.to_owned());
        }
    }
    out
}

/// # Errors
/// 403 unless `user` may impersonate what is named by group, resource, subresource and name.
fn must(access: &Access, user: &User, what: (&str, &str, &str, &str), namespace: &str) -> Result<(), Status> {
    let (group, resource, subresource, name) = what;
    let asked = Asked { verb: "impersonate", group, resource, subresource, name };
    match access.decide(user, &Attributes::Resource { asked, namespace }) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) => {
            let verb = "impersonate";
            let attempt = Attempt { user: &user.name, verb, group, resource, subresource, namespace, name };
            Err(status::denied(&attempt, &why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::MASTERS;

    #[test]
    fn masters_may_and_others_may_not() {
        let access = Access::default();
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", "system:serviceaccount:a:b".parse().unwrap());
        headers.insert("impersonate-extra-a%2fb", "x".parse().unwrap());
        let as_account = impersonate(&access, User::master("admin"), &headers).unwrap();
        assert_eq!(as_account.name, "system:serviceaccount:a:b");
        assert!(as_account.is_in("system:serviceaccounts:a") && !as_account.is_in(MASTERS));
        assert!(as_account.is_in(AUTHENTICATED));
        assert_eq!(as_account.extra["a/b"], ["x"]);
        let alice = User::known("alice".into(), String::new(), vec![]);
        let refused = impersonate(&access, alice.clone(), &headers).unwrap_err();
        assert_eq!(refused.code, 403);
        assert_eq!(
            refused.message(),
            "serviceaccounts \"b\" is forbidden: User \"alice\" cannot impersonate resource \"serviceaccounts\" in \
             API group \"\" in the namespace \"a\""
        );
        headers.remove("impersonate-user");
        assert_eq!(impersonate(&access, alice.clone(), &headers).unwrap_err().code, 400);
        assert_eq!(impersonate(&access, alice.clone(), &HeaderMap::new()).unwrap(), alice);
    }
}
