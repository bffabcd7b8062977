//! One file a verb, over one handler that the table of kinds drives.

mod apply;
mod create;
pub(crate) mod delete;
mod field_manager;
mod get;
mod list;
pub(crate) mod options;
mod patch;
pub(crate) mod pods;
mod scale;
mod update;
mod watch;
pub(crate) mod write;

use api::kinds::{Kind, Subresource};
use api::status::{self, Status};
use store::Store;

pub(crate) use create::{created_name, make};
pub(crate) use field_manager::FieldManager;
pub(crate) use list::fuzz as continue_token;
pub(crate) use patch::Patch;
pub(crate) use write::Part;

use crate::app::{App, Ask, Place};
use crate::reply::{self, Reply};
use crate::request::{ResourcePath, Verb};
use crate::streams;

/// Answers a request about objects.
///
/// # Errors
/// The Status that the client gets instead.
pub(crate) async fn handle<S: Store>(app: &std::sync::Arc<App<S>>, ask: Ask, path: &ResourcePath) -> Reply {
    let kind = app.customs.look_up(&app.store, path).await.ok_or_else(status::no_such_resource)?;
    let deprecation = kind.custom.as_ref().and_then(|custom| custom.deprecation.clone());
    let mut answer = of_kind(app, ask, path, &kind).await;
    if let (Some(text), Ok(response)) = (deprecation, &mut answer) {
        reply::warn(response, &[text]);
    }
    answer
}

/// Answers a request about objects of a kind. Each verb works on the heap by itself, so that none takes the room of the largest.
async fn of_kind<S: Store>(app: &std::sync::Arc<App<S>>, ask: Ask, path: &ResourcePath, kind: &Kind) -> Reply {
    if path.namespace.is_some() && !kind.namespaced {
        return Err(status::no_such_resource());
    }
    let place = Place { kind, namespace: path.namespace.as_deref(), name: path.name.as_deref().unwrap_or_default() };
    if kind.namespaced && place.namespace.is_none() && (path.name.is_some() || path.verb == Verb::DeleteCollection) {
        return Err(status::no_such_resource());
    }
    let part = match path.subresource.as_deref() {
        None => Part::Whole,
        Some(segment) if app.reasons.serves(kind, segment) => {
            return Box::pin(crate::reasons::answer(app, ask, path.verb, place)).await;
        }
        Some(segment) => match kind.subresource(segment).ok_or_else(status::no_such_resource)? {
            Subresource::Status => Part::Status,
            Subresource::Finalize => Part::Finalize,
            Subresource::EphemeralContainers => Part::EphemeralContainers,
            Subresource::Resize => Part::Resize,
            other => return Box::pin(subresource(app, ask, path, place, other)).await,
        },
    };
    allowed(path, place, part)?;
    match path.verb {
        Verb::Get => Box::pin(get::get(app, ask, place)).await,
        Verb::List => Box::pin(list::list(app, ask, place)).await,
        Verb::Watch => Box::pin(watch::watch(app, ask, place)).await,
        Verb::Create => match crate::reviews::is_question(kind) {
            true => Box::pin(crate::reviews::answer(app, ask, place)).await,
            false => Box::pin(create::create(app, ask, place)).await,
        },
        Verb::Update => Box::pin(update::update(app, ask, place, part)).await,
        Verb::Patch => Box::pin(patch::patch(app, ask, path, place, part)).await,
        Verb::Delete => Box::pin(delete::delete(app, ask, place)).await,
        Verb::DeleteCollection => Box::pin(delete::delete_collection(app, ask, place)).await,
    }
}

/// Whether the kind has the verb.
fn allowed(path: &ResourcePath, place: Place<'_>, part: Part) -> Result<(), Status> {
    let has = match part {
        Part::Whole => {
            let bare = path.verb == Verb::Create && path.name.is_some();
            !bare && place.kind.verbs.iter().any(|verb| verb.as_str() == path.verb.as_str())
        }
        Part::Status | Part::EphemeralContainers | Part::Resize => {
            matches!(path.verb, Verb::Get | Verb::Update | Verb::Patch)
        }
        Part::Finalize => path.verb == Verb::Update,
    };
    if path.verb == Verb::Create && place.kind.custom.as_ref().is_some_and(|custom| custom.is_terminating) {
        let mut status = status::method_not_allowed(place.kind.group, place.kind.plural, "create");
        status.body["message"] = "create not allowed while custom resource definition is terminating".into();
        return Err(status);
    }
    match has {
        true => Ok(()),
        false => Err(status::method_not_allowed(place.kind.group, place.kind.plural, path.verb.as_str())),
    }
}

async fn subresource<S: Store>(
    app: &std::sync::Arc<App<S>>,
    ask: Ask,
    path: &ResourcePath,
    place: Place<'_>,
    sub: Subresource,
) -> Reply {
    match (sub, path.verb) {
        (Subresource::Approval, Verb::Get) => get::get(app, ask, place).await,
        (Subresource::Approval, Verb::Update | Verb::Patch) => {
            crate::auth::certificates::approve(app, ask, place).await
        }
        (Subresource::Token, Verb::Create) => crate::auth::accounts::issue(app, ask, place).await,
        (Subresource::Binding, Verb::Create) => pods::binding::bind(app, ask, place).await,
        (Subresource::Eviction, Verb::Create) => pods::eviction::evict(app, ask, place).await,
        (Subresource::Scale, verb) => scale::scale(app, ask, verb, place).await,
        (Subresource::Proxy, _) => crate::proxy::proxy(app, ask, place).await,
        (Subresource::Log, Verb::Get) => crate::tunnel::logs::logs(app, ask, place).await,
        (Subresource::Exec, Verb::Create) => streams::container_streams(app, ask, place, streams::What::Exec).await,
        (Subresource::Attach, Verb::Create) => streams::container_streams(app, ask, place, streams::What::Attach).await,
        (Subresource::PortForward, Verb::Create) => streams::port_forward(app, ask, place).await,
        _ => Err(status::method_not_allowed(place.kind.group, place.kind.plural, path.verb.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Method, Request};
    use serde_json::Value;
    use store::Store;
    use store::embedded::{Embedded, Options};
    use tokio_util::sync::CancellationToken;

    use crate::app::App;
    use crate::auth::accounts::Issuer;
    use crate::auth::{Tokens, User};
    use crate::listen::Handler;
    use crate::pki::AccountKey;
    use crate::service::Api;
    use crate::{body, bootstrap, reply};

    /// The code and the first JSON document of an answer.
    async fn get(api: &Api<Embedded>, uri: &str) -> (u16, Value) {
        let mut request = Request::builder().method(Method::GET).uri(uri).body(reply::full("")).unwrap();
        request.extensions_mut().insert(User::master("test"));
        let response = api.handle(request).await;
        let code = response.status().as_u16();
        let (bytes, _) = body::up_to(response.into_body(), 1 << 20).await.unwrap();
        let first = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().next();
        (code, first.unwrap().unwrap())
    }

    #[tokio::test]
    async fn history_that_is_gone_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        let issuer = Issuer { key: AccountKey::open(dir.path()).unwrap(), url: String::new() };
        let app = Arc::new(App::new(store.clone(), Tokens::default(), issuer, CancellationToken::new()));
        bootstrap::run(&app).await.unwrap();
        let api = Api(app);
        let (_, page) = get(&api, "/api/v1/namespaces?limit=2").await;
        let next = page["metadata"]["continue"].as_str().unwrap();
        let key = b"/registry/core/configmaps/default/x";
        store.commit(key, store::Expect::Absent, store::Op::Put("{}".into())).await.unwrap();
        let newest = store.revision().await.unwrap();
        store.compact(newest).await.unwrap();

        let (code, expired) = get(&api, &format!("/api/v1/namespaces?limit=2&continue={next}")).await;
        assert_eq!((code, expired["reason"].as_str()), (410, Some("Expired")), "{expired}");
        let rest = expired["metadata"]["continue"].as_str().unwrap();
        let (code, rest) = get(&api, &format!("/api/v1/namespaces?limit=2&continue={rest}")).await;
        assert_eq!((code, rest["items"].as_array().map(Vec::len)), (200, Some(2)), "{rest}");

        let (code, event) = get(&api, "/api/v1/namespaces?watch=1&resourceVersion=1").await;
        assert_eq!((code, &event["type"], &event["object"]["code"]), (200, &"ERROR".into(), &410.into()), "{event}");
        let (code, exact) = get(&api, "/api/v1/namespaces?resourceVersion=1&resourceVersionMatch=Exact").await;
        assert_eq!(code, 410, "{exact}");
    }
}
