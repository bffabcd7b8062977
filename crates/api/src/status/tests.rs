//! Sentences, codes and details of refusals.

use super::*;
use crate::validate::Path;

#[test]
fn sentences() {
    fn check(status: &Status, code: u16, reason: &str, message: &str) {
        assert_eq!((status.code, status.reason(), status.message()), (code, reason, message));
        assert_eq!(status.body["code"], code);
    }
    check(&not_found("", "nodes", "nope"), 404, "NotFound", "nodes \"nope\" not found");
    check(&not_found("apps", "daemonsets", "x"), 404, "NotFound", "daemonsets.apps \"x\" not found");
    let modified = conflict("apps", "daemonsets", "x", OBJECT_MODIFIED);
    let text = "Operation cannot be fulfilled on daemonsets.apps \"x\": the object has been modified; please \
                apply your changes to the latest version and try again";
    check(&modified, 409, "Conflict", text);
    check(&already_exists("", "pods", "x"), 409, "AlreadyExists", "pods \"x\" already exists");
    check(&forbidden("", "pods", "", "no"), 403, "Forbidden", "pods is forbidden: no");
    check(&forbidden("", "", "", "no"), 403, "Forbidden", "forbidden: no");
    let attempt = Attempt {
        user: "u",
        verb: "get",
        resource: "pods",
        subresource: "log",
        namespace: "n",
        name: "x",
        ..Attempt::default()
    };
    let text =
        "pods \"x\" is forbidden: User \"u\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"n\"";
    check(&denied(&attempt, ""), 403, "Forbidden", text);
    let attempt = Attempt { user: "u", verb: "list", group: "apps", resource: "daemonsets", ..Attempt::default() };
    let text = "daemonsets.apps is forbidden: User \"u\" cannot list resource \"daemonsets\" in API group \"apps\" at the cluster scope";
    check(&denied(&attempt, ""), 403, "Forbidden", text);
    check(
        &method_not_allowed("", "pods", "put"),
        405,
        "MethodNotAllowed",
        "put is not supported on resources of kind \"pods\"",
    );
    check(&internal("x"), 500, "InternalError", "Internal error occurred: x");
}

#[test]
fn invalid_names_its_causes() {
    let error = FieldError::required(&Path::root("spec").child("selector"), "");
    let status = invalid("apps", "DaemonSet", "x", &[error]);
    assert_eq!(status.message(), "DaemonSet.apps \"x\" is invalid: spec.selector: Required value");
    let expect = json!({"name": "x", "group": "apps", "kind": "DaemonSet", "causes": [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"}]});
    assert_eq!(status.body["details"], expect);
}

#[test]
fn successes_and_retries() {
    let done = success("apps", "daemonsets", "x", "u-1");
    assert_eq!(done.body["details"], json!({"name": "x", "group": "apps", "kind": "daemonsets", "uid": "u-1"}));
    assert_eq!(too_many_requests("slow", 3).retry_after_seconds(), Some(3));
    assert_eq!(bad_request("x").retry_after_seconds(), None);
}
