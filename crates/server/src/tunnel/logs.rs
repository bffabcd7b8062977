//! The output of a container, read from its node.

use std::sync::Arc;

use api::status::{self, Status};
use http::{HeaderValue, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use store::Store;

use crate::app::{App, Ask, Place};
use crate::body::up_to;
use crate::object;
use crate::reply::{self, Body, Reply};
use crate::request::Query;

/// The parameters that are passed on.
const PASSED: &[&str] =
    &["follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes", "stream"];
/// The part of an agent's error text that is passed on.
const ERROR_BYTES_MAX: usize = 8 * 1024;

/// Answers a GET of `pods/NAME/log`.
pub(crate) async fn logs<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let pod = object::decode(&app.entry(place).await?)?;
    let container = container(place, &pod, ask.query.get("container"))?;
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) else {
        return Ok(reply::text(StatusCode::OK, ""));
    };
    let uri = uri(place, &container, &ask.query);
    let request = Request::get(uri).body(reply::full("")).map_err(status::internal)?;
    let answer = app.nodes.send(node, request).await?;
    if answer.status() != StatusCode::OK {
        return Err(refused(answer.status(), answer.into_body()).await);
    }
    let mut response = http::Response::new(answer.into_body());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn uri(place: Place<'_>, container: &str, query: &Query) -> String {
    let namespace = place.namespace.unwrap_or_default();
    let parameters: Vec<String> = PASSED
        .iter()
        .filter_map(|name| query.get(name).map(|value| (name, value)))
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    format!("http://node/containerLogs/{namespace}/{}/{container}?{}", place.name, parameters.join("&"))
}

/// The container asked for, or the only one.
pub(crate) fn container(place: Place<'_>, pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    let names = |field: &str| -> Vec<String> {
        let list = pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|c| c["name"].as_str()).map(str::to_owned).collect()
    };
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    match asked {
        Some(name) if main.iter().chain(&init).chain(&ephemeral).any(|n| n == name) => Ok(name.to_owned()),
        Some(name) => Err(status::bad_request(format!("container {name} is not valid for pod {}", place.name))),
        None => match main.as_slice() {
            [only] => Ok(only.clone()),
            _ => {
                let mut text = format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    place.name,
                    main.join(" ")
                );
                if !init.is_empty() {
                    text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(status::bad_request(text))
            }
        },
    }
}

/// What the agent said, as a Status.
async fn refused(code: StatusCode, body: Body) -> Status {
    let (bytes, _) = up_to(body, ERROR_BYTES_MAX).await.unwrap_or_default();
    if let Ok(body) = serde_json::from_slice::<Value>(&bytes)
        && body["kind"] == "Status"
    {
        return Status { code: code.as_u16(), body };
    }
    let text = String::from_utf8_lossy(&bytes);
    match code {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => status::bad_request(text.trim()),
        _ => status::internal(text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn which_container() {
        let kind = api::kinds::find("", "v1", "pods").unwrap();
        let place = Place { kind, namespace: Some("a"), name: "b" };
        let one = json!({"spec": {"containers": [{"name": "x"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"spec": {"containers": [{"name": "x"}, {"name": "y"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container(place, &one, None).unwrap(), "x");
        assert_eq!(container(place, &one, Some("i")).unwrap(), "i");
        assert_eq!(
            container(place, &two, None).unwrap_err().message(),
            "a container name must be specified for pod b, choose one of: [x y] or one of the init containers: [i]"
        );
        assert_eq!(container(place, &one, Some("z")).unwrap_err().message(), "container z is not valid for pod b");
    }

    #[test]
    fn parameters_are_passed_on() {
        let kind = api::kinds::find("", "v1", "pods").unwrap();
        let place = Place { kind, namespace: Some("a"), name: "b" };
        let query = Query::parse(Some("tailLines=5&sinceTime=2020-01-01T00:00:00Z&container=x&other=1"));
        let uri = uri(place, "x", &query);
        assert_eq!(uri, "http://node/containerLogs/a/b/x?tailLines=5&sinceTime=2020%2D01%2D01T00%3A00%3A00Z");
    }
}
