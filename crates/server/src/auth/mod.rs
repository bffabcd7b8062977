//! Who asks, and whether they may.
//!
//! # Invariants
//! A request has exactly one identity before any handler sees it; without credentials it is the anonymous user.
//!
mod access;
pub(crate) mod accounts;
mod bootstrap_tokens;
pub(crate) mod certificates;
mod impersonate;
mod node;
pub(crate) mod rbac;
mod tokens;

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use store::Store;

use crate::app::App;

pub(crate) use access::{Access, Attributes, Decision};
pub(crate) use impersonate::impersonate;
pub(crate) use rbac::RoleRef;
pub(crate) use tokens::Tokens;

use crate::pki::Subject;

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The group of all agents.
pub(crate) const NODES: &str = "system:nodes";
/// The group of everyone who comes with a bootstrap token; further groups begin with it and a colon.
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The group of everyone with credentials.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone without.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// The user's name.
    pub(crate) name: String,
    /// The user's id, if the credentials carry one.
    pub(crate) uid: String,
    /// The groups.
    pub(crate) groups: Vec<String>,
    /// What else the credentials say, such as the pod that a token is bound to.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

tokio::task_local! {
    static CURRENT: User;
}

/// Answers a request as `user`: admission below sees who asks.
pub(crate) async fn acting<F: Future>(user: User, request: F) -> F::Output {
    CURRENT.scope(user, request).await
}

/// Who asks. Outside of a request it is the user without credentials, who may grant nothing.
pub(crate) fn current() -> User {
    CURRENT.try_with(User::clone).unwrap_or_else(|_| User::anonymous())
}

impl User {
    /// A user in the group of those who may do everything, for controllers in this process.
    pub(crate) fn master(name: &str) -> User {
        User::known(name.to_owned(), String::new(), vec![MASTERS.to_owned()])
    }

    /// A user whose credentials were checked.
    pub(crate) fn known(name: String, uid: String, mut groups: Vec<String>) -> User {
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        User { name, uid, groups, extra: BTreeMap::new() }
    }

    /// The user without credentials.
    pub(crate) fn anonymous() -> User {
        let (uid, groups) = (String::new(), vec![UNAUTHENTICATED.into()]);
        User { name: "system:anonymous".into(), uid, groups, extra: BTreeMap::new() }
    }

    /// Whether the user is in `group`.
    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node that this user is the agent of.
    pub(crate) fn node(&self) -> Option<&str> {
        self.name.strip_prefix("system:node:").filter(|_| self.is_in(NODES))
    }
}

/// Decides on a request. What nodes may ask for has to do with them, unless a role allows more.
pub(crate) async fn decide<S: Store>(
    app: &App<S>,
    user: &User,
    attributes: &Attributes<'_>,
    selector: &str,
) -> Decision {
    let decision = app.access.decide(user, attributes);
    let (Some(node), true) = (user.node(), decision.allows() && !user.is_in(MASTERS)) else { return decision };
    match node::check(app, node, attributes, selector).await {
        Ok(()) => decision,
        Err(why) => match app.access.rbac.decide(user, attributes) {
            Decision::Deny(_) => Decision::Deny(why),
            allowed => allowed,
        },
    }
}

/// What the connection proved, attached to each of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Peer(pub(crate) Option<Proof>);

/// A client certificate that a connection began with; it may live longer than the certificate.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub(crate) subject: Subject,
    /// The end of the certificate's life, in seconds since 1970.
    pub(crate) until: i64,
}

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Who asks: the client certificate, then the token, then nobody. None when the token is not known, or the certificate has
/// expired while the connection was open.
pub(crate) async fn identify<S: Store>(app: &App<S>, peer: Option<&Peer>, headers: &HeaderMap) -> Option<User> {
    if let Some(Peer(Some(Proof { subject, until }))) = peer {
        if jiff::Timestamp::now().as_second() > *until {
            return None;
        }
        return Some(User::known(subject.user.clone(), String::new(), subject.groups.clone()));
    }
    match bearer(headers) {
        Some(token) => by_token(app, token, &[accounts::ISSUER.to_owned()]).await.ok().map(|(user, _)| user),
        None => Some(User::anonymous()),
    }
}

/// Whom a token speaks for, and which of `audiences` it is for.
///
/// # Errors
/// Why it speaks for nobody.
pub(crate) async fn by_token<S: Store>(
    app: &App<S>,
    token: &str,
    audiences: &[String],
) -> Result<(User, Vec<String>), String> {
    // Tokens of the file are for this server alone.
    let own: Vec<String> = audiences.iter().filter(|a| *a == accounts::ISSUER).cloned().collect();
    if let (Some(user), false) = (app.tokens.find(token), own.is_empty()) {
        return Ok((user, own));
    }
    if let (Some(user), false) = (bootstrap_tokens::check(app, token).await, own.is_empty()) {
        return Ok((user, own));
    }
    match accounts::check(app, token, audiences).await {
        Some(checked) => checked,
        None => Err("invalid bearer token".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[tokio::test]
    async fn credentials_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = store::embedded::Embedded::open(&dir.path().join("store"), Default::default()).unwrap();
        let tokens = Tokens::parse("secret,alice,7,\"dev,ops\"\n").unwrap();
        let issuer = accounts::Issuer { key: crate::pki::AccountKey::open(dir.path()).unwrap(), url: String::new() };
        let app = App::new(store, tokens, issuer, Default::default());
        let bob = |until| Peer(Some(Proof { subject: Subject { user: "bob".into(), groups: vec![] }, until }));
        let (bob, expired) = (bob(i64::MAX), bob(jiff::Timestamp::now().as_second() - 1));
        for (peer, authorization, expect) in [
            (Some(&bob), Some("Bearer secret"), Some("bob")),
            (Some(&expired), Some("Bearer secret"), None),
            (None, Some("bearer secret"), Some("alice")),
            (None, Some("Bearer wrong"), None),
            (Some(&Peer(None)), None, Some("system:anonymous")),
        ] {
            let user = identify(&app, peer, &headers(authorization)).await;
            assert_eq!(user.map(|u| u.name).as_deref(), expect, "{authorization:?}");
        }
    }

    #[test]
    fn only_members_of_the_node_group_are_nodes() {
        let node = User::known("system:node:n-1".into(), String::new(), vec![NODES.into()]);
        assert_eq!(node.node(), Some("n-1"));
        let other = User::known("system:node:n-1".into(), String::new(), vec![]);
        assert_eq!(other.node(), None);
    }
}
