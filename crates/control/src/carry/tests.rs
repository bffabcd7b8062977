//! Writes against an API server that says what the test wants.

use super::*;
use crate::testing::{Answers, Requests, hub, lines, status};

/// A carrier, and the requests that it makes.
fn carrier(answer: Answers) -> (Carrier, Requests) {
    let (hub, requests) = hub(answer);
    let key = Key::new("x", "d");
    let about = About { api_version: "apps/v1", kind: "DaemonSet", key: key.clone(), uid: "uid-d".into() };
    (Carrier { hub, set: ("daemonsets", key), source: "test", about }, requests)
}

fn waits(carrier: &Carrier) -> bool {
    !carrier.hub.world().has_seen_writes(&carrier.set)
}

#[tokio::test]
async fn creations_that_fail_end_with_the_first_ones_and_are_not_waited_for() {
    let (refused, requests) = carrier(|_, _| (403, status(403, "Forbidden")));
    let outcome = create_pods(&refused, (0..100).map(|_| Pod::default())).await;
    assert!(matches!(outcome, Err(SyncError::Api(error)) if wire::code(&error) == 403));
    assert_eq!((lines(&requests).len(), waits(&refused)), (CREATIONS_AT_FIRST, false));

    let (granted, requests) = carrier(|_, _| (201, json!({"metadata": {"name": "p", "namespace": "x", "uid": "u"}})));
    create_pods(&granted, (0..100).map(|_| Pod::default())).await.unwrap();
    assert_eq!((lines(&requests).len(), waits(&granted)), (100, true));
}

#[tokio::test]
async fn a_namespace_that_is_going_is_no_failure() {
    let (carrier, requests) = carrier(|_, _| {
        let mut refusal = status(403, "Forbidden");
        refusal["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]});
        (403, refusal)
    });
    create_pods(&carrier, (0..9).map(|_| Pod::default())).await.unwrap();
    assert_eq!((lines(&requests).len(), waits(&carrier)), (9, false));
}

#[tokio::test]
async fn deletions_go_on_past_one_that_fails_and_gone_is_fine() {
    let (carrier, requests) = carrier(|_, path| match path.rsplit('/').next() {
        Some("gone") => (404, status(404, "NotFound")),
        Some("held") => (500, status(500, "InternalError")),
        _ => (200, json!({"metadata": {}})),
    });
    let pods = ["gone", "held", "fine"].map(|name| (name.to_owned(), format!("uid-{name}")));
    assert!(delete_pods(&carrier, pods.to_vec()).await.is_err());
    assert_eq!(lines(&requests).len(), 3);
    assert!(!waits(&carrier), "none of them is known, so none is waited for");
}

#[tokio::test]
async fn a_set_that_is_going_or_was_replaced_must_not_adopt() {
    let cases: [(Answers, bool); 4] = [
        (|_, _| (200, json!({"metadata": {"uid": "uid-d"}})), true),
        (|_, _| (200, json!({"metadata": {"uid": "uid-d", "deletionTimestamp": "2026-01-01T00:00:00Z"}})), false),
        (|_, _| (200, json!({"metadata": {"uid": "another"}})), false),
        (|_, _| (404, status(404, "NotFound")), false),
    ];
    for (i, (answer, expect)) in cases.into_iter().enumerate() {
        let (carrier, _) = carrier(answer);
        assert_eq!(carrier.check_alive(wire::daemon_sets()).await.is_ok(), expect, "case {i}");
    }
}

#[tokio::test]
async fn a_pod_that_changed_hands_meanwhile_is_left() {
    for code in [404, 409, 422] {
        let (carrier, _) = match code {
            404 => carrier(|_, _| (404, status(404, "NotFound"))),
            409 => carrier(|_, _| (409, status(409, "Conflict"))),
            _ => carrier(|_, _| (422, status(422, "Invalid"))),
        };
        carrier.adopt(wire::pods(), "p", "u").await.unwrap();
        carrier.release(wire::pods(), "p", "u").await.unwrap();
        assert!(!waits(&carrier), "{code}");
    }
    let (failing, _) = carrier(|_, _| (500, status(500, "InternalError")));
    assert!(failing.adopt(wire::pods(), "p", "u").await.is_err(), "that is tried again");
}
