//! Reading all objects of a kind, in pages that show one moment.
//!
//! # Invariants
//! - The pages of one list show the same revision, or the client is told that it is gone.
//! - No more than one page and one chunk of keys is held.

use std::sync::Arc;

use api::kinds::Kind;
use api::status::{self, Status};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store::{Entry, Page, Revision, Store, StoreError};

use crate::app::{App, Ask, Place, failure, too_large};
use crate::limits::{GZIP_BYTES_MIN, LIST_CHUNK};
use crate::negotiate::{self, Form, Shape};
use crate::node_pods;
use crate::object;
use crate::reply::{self, Reply};
use crate::request::Query;
use crate::selection::Selection;
use crate::shape::{self, Include, ListMeta};

/// Where the next page begins.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Token {
    v: String,
    /// The revision that all pages show; -1 to go on with what is there now.
    rv: i64,
    /// The last key shown, without the prefix of the kind.
    start: String,
}

/// The version of the token's form, as kube-apiserver writes it.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Token {
    fn parse(text: &str) -> Result<Token, Status> {
        let broken = |why: String| status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| broken(e.to_string()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
        match token.v == TOKEN_VERSION && !token.start.is_empty() {
            true => Ok(token),
            false => Err(broken("it is of another version".to_owned())),
        }
    }

    fn text(rv: i64, start: &str) -> String {
        let token = Token { v: TOKEN_VERSION.to_owned(), rv, start: start.to_owned() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }
}

/// What is read as a token reads again as the same; for the fuzz targets.
pub(crate) fn fuzz(text: &str) {
    if let Ok(token) = Token::parse(text) {
        assert_eq!(Token::parse(&Token::text(token.rv, &token.start)).ok(), Some(token));
    }
}

/// The revision in the query.
///
/// # Errors
/// 400 when it is no number.
pub(crate) fn asked_revision(query: &Query) -> Result<Option<Revision>, Status> {
    let Some(text) = query.get("resourceVersion") else { return Ok(None) };
    text.parse()
        .map(|n| Some(Revision(n)))
        .map_err(|_| status::bad_request(format!("Invalid value: {text:?}: resourceVersion must be a number")))
}

/// # Errors
/// 504 when the revision asked for is newer than the newest.
pub(crate) fn not_in_the_future(query: &Query, newest: Revision) -> Result<(), Status> {
    match asked_revision(query)? {
        Some(wanted) if wanted > newest => Err(too_large(wanted.0, newest.0)),
        _ => Ok(()),
    }
}

/// The prefix that the keys of a request share, narrowed by what the selectors name.
pub(crate) fn prefix(place: Place<'_>, selection: &Selection) -> String {
    let namespace = place.namespace.or_else(|| selection.namespace().filter(|_| place.kind.namespaced));
    match selection.name() {
        Some(name) if !place.kind.namespaced || namespace.is_some() => object::key(place.kind, namespace, name),
        _ => object::prefix(place.kind, namespace),
    }
}

/// Which revision a list shows.
fn moment(query: &Query) -> Result<Option<Revision>, Status> {
    let asked = asked_revision(query)?;
    match (query.get("resourceVersionMatch"), asked) {
        (None | Some("NotOlderThan"), _) => Ok(None),
        (Some("Exact"), Some(revision)) if revision.0 > 0 => Ok(Some(revision)),
        (Some("Exact"), _) => Err(status::bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        )),
        (Some(other), _) => Err(status::bad_request(format!(
            "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
        ))),
    }
}

/// The revision to show to who does not insist on the newest: the one at hand, if it is new enough.
pub(crate) fn at_hand(query: &Query, seen: Revision) -> Option<Revision> {
    let asked = asked_revision(query).ok().flatten()?;
    (asked <= seen && query.get("resourceVersionMatch") != Some("Exact")).then_some(seen)
}

/// A page that matches the selectors.
pub(crate) struct Matched {
    pub(crate) entries: Vec<Entry>,
    pub(crate) revision: Revision,
    /// The last key looked at, when more follow.
    after: Option<Vec<u8>>,
    remaining: u64,
}

/// Collects up to `limit` (0: all) matching entries.
async fn collect<S: Store>(
    store: &S,
    kind: &Kind,
    prefix: &str,
    selection: &Selection,
    mut after: Vec<u8>,
    limit: usize,
    mut at: Option<Revision>,
) -> Result<Matched, StoreError> {
    let mut matched = Matched { entries: Vec::new(), revision: Revision(0), after: None, remaining: 0 };
    loop {
        let room = if limit == 0 { 0 } else { limit - matched.entries.len() };
        let ask = match (selection.is_everything(), room) {
            // Nothing is left out, so one call gives the page or all; entries share their bytes with the store.
            (true, room) => room,
            (false, _) => LIST_CHUNK,
        };
        let Page { entries, revision, more, remaining } = store.list(prefix.as_bytes(), &after, ask, at).await?;
        at = Some(revision);
        matched.revision = revision;
        let count = entries.len();
        for (index, entry) in entries.into_iter().enumerate() {
            if limit != 0 && matched.entries.len() == limit {
                // More may match behind the last one shown.
                matched.after = matched.entries.last().map(|last| last.key.to_vec());
                matched.remaining = remaining + (count - index) as u64;
                return Ok(matched);
            }
            after = entry.key.to_vec();
            if selection.is_everything() || selection.shows(kind, &entry.key, &entry.value) {
                matched.entries.push(entry);
            }
        }
        if !more {
            return Ok(matched);
        }
        if limit != 0 && matched.entries.len() == limit {
            matched.after = Some(after);
            matched.remaining = remaining;
            return Ok(matched);
        }
    }
}

/// The node whose pods alone a request is about.
pub(crate) fn node<'s>(place: Place<'_>, selection: &'s Selection) -> Option<&'s str> {
    let pods = place.kind.group.is_empty() && place.kind.plural == "pods" && place.namespace.is_none();
    selection.node().filter(|_| pods)
}

/// Collects what a request is about, from the index where that knows it; as of `at`, or now, or as of `hand` for who does
/// not insist on the newest.
pub(crate) async fn matching<S: Store>(
    app: &Arc<App<S>>,
    place: Place<'_>,
    selection: &Selection,
    after: Vec<u8>,
    limit: usize,
    at: Option<Revision>,
    hand: Option<Revision>,
) -> Result<Matched, StoreError> {
    if let Some(node) = node(place, selection)
        && after.is_empty()
        && at.is_none()
        && let Some((mut entries, revision)) = node_pods::list(app, node).await?
    {
        entries.retain(|entry| selection.shows(place.kind, &entry.key, &entry.value));
        if limit == 0 || entries.len() <= limit {
            return Ok(Matched { entries, revision, after: None, remaining: 0 });
        }
    }
    collect(&app.store, place.kind, &prefix(place, selection), selection, after, limit, at.or(hand)).await
}

/// Answers a list.
pub(crate) async fn list<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let selection = Selection::parse(place.kind, &ask.query)?;
    let limit: usize = match ask.query.get("limit") {
        None => 0,
        Some(text) => text.parse().map_err(|_| status::bad_request(format!("invalid limit: {text}")))?,
    };
    let base = object::prefix(place.kind, None);
    let mut hand = None;
    let (after, at) = match ask.query.get("continue") {
        None => {
            hand = at_hand(&ask.query, app.store.seen());
            (Vec::new(), moment(&ask.query)?)
        }
        Some(text) => {
            let token = Token::parse(text)?;
            let key = format!("{base}{}", token.start).into_bytes();
            (key, u64::try_from(token.rv).ok().map(Revision))
        }
    };
    if at.is_none() && hand.is_none() {
        not_in_the_future(&ask.query, app.store.revision().await.map_err(failure)?)?;
    }
    let collected = matching(app, place, &selection, after.clone(), limit, at, hand).await;
    let mut matched = collected.map_err(|error| match error {
        StoreError::Compacted { .. } if !after.is_empty() => page_expired(&after, &base),
        other => failure(other),
    })?;
    // An object whose name begins with the one asked for shares its key as prefix.
    if let Some(name) = selection.name() {
        matched.entries.retain(|entry| object::names_of_key(place.kind, &entry.key).1 == name);
    }
    let shown = |key: &[u8]| String::from_utf8_lossy(key.get(base.len()..).unwrap_or_default()).into_owned();
    let meta = ListMeta {
        revision: matched.revision,
        next: matched.after.as_ref().map(|key| Token::text(matched.revision.0 as i64, &shown(key))),
        remaining: matched.after.as_ref().filter(|_| selection.is_everything()).map(|_| matched.remaining),
    };
    respond(form, &ask, place.kind, &meta, matched.entries)
}

fn respond(form: Form, ask: &Ask, kind: &Kind, meta: &ListMeta, entries: Vec<Entry>) -> Reply {
    let gzip = negotiate::accepts_gzip(&ask.headers);
    if form.shape == Shape::Whole && !form.yaml && kind.is_seen_as_stored() {
        let size: usize = entries.iter().map(|e| e.value.len()).sum();
        let pieces = shape::list_pieces(kind, meta, entries);
        return Ok(match gzip && size >= GZIP_BYTES_MIN {
            true => reply::gzipped(reply::JSON, reply::streamed(futures::stream::iter(reply::gzip_pieces(pieces)))),
            false => {
                reply::with_type(http::StatusCode::OK, reply::JSON, reply::streamed(futures::stream::iter(pieces)))
            }
        });
    }
    let value = shape::list_value(form, Include::parse(&ask.query), kind, meta, &entries)?;
    Ok(reply::maybe_gzip(shape::media(form), shape::text(form, &value)?, gzip))
}

/// 410 with a token that goes on with what is there now.
fn page_expired(after: &[u8], base: &str) -> Status {
    let start = String::from_utf8_lossy(after.get(base.len()..).unwrap_or_default()).into_owned();
    let mut status = status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.body["metadata"]["continue"] = Token::text(-1, &start).into();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        let text = Token::text(42, "a/b");
        assert_eq!(Token::parse(&text).unwrap(), Token { v: TOKEN_VERSION.into(), rv: 42, start: "a/b".into() });
        assert_eq!(Token::parse("nonsense").unwrap_err().code, 400);
    }

    #[test]
    fn what_is_at_hand_is_shown_to_who_does_not_insist() {
        for (query, want) in [
            ("", None),
            ("resourceVersion=0", Some(Revision(7))),
            ("resourceVersion=7", Some(Revision(7))),
            ("resourceVersion=7&resourceVersionMatch=NotOlderThan", Some(Revision(7))),
            ("resourceVersion=8", None),
            ("resourceVersion=5&resourceVersionMatch=Exact", None),
        ] {
            assert_eq!(at_hand(&Query::parse(Some(query)), Revision(7)), want, "{query}");
        }
    }

    #[test]
    fn which_moment() {
        for (query, want) in [
            ("", Ok(None)),
            ("resourceVersion=0", Ok(None)),
            ("resourceVersion=5", Ok(None)),
            ("resourceVersion=5&resourceVersionMatch=NotOlderThan", Ok(None)),
            ("resourceVersion=5&resourceVersionMatch=Exact", Ok(Some(Revision(5)))),
            ("resourceVersion=0&resourceVersionMatch=Exact", Err(400)),
            ("resourceVersion=x", Err(400)),
            ("resourceVersion=5&resourceVersionMatch=Around", Err(400)),
        ] {
            assert_eq!(moment(&Query::parse(Some(query))).map_err(|s| s.code), want, "{query}");
        }
    }
}
