//! Reading one object.

use std::sync::Arc;

use http::StatusCode;
use store::Store;

use crate::app::{App, Ask, Place, failure};
use crate::negotiate;
use crate::reply::Reply;
use crate::shape::{self, Include};

/// Answers with the object as it stands now, which satisfies every resourceVersion a client may ask for.
pub(crate) async fn get<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let (entry, newest) = app.store.get(place.key().as_bytes()).await.map_err(failure)?;
    super::list::not_in_the_future(&ask.query, newest)?;
    let entry = entry.ok_or_else(|| place.not_found())?;
    let include = Include::parse(&ask.query);
    shape::respond(StatusCode::OK, form, include, place.kind, &entry.value, entry.mod_revision)
}
