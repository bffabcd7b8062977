//! The API as a client sees it, without sockets: requests in, answers out.

mod access;
mod applies;
mod bounds;
mod certificates;
mod customs;
mod deletes;
mod forms;
mod lists;
mod nodes;
mod placing;
mod proxy;
mod reasons;
mod services;
mod streams;
mod support;
mod tokens;
mod tunnel;
mod watches;
mod writes;
