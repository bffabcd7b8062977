//! Why nodes run a daemon, for the server's clients: found out from the API itself, on request.
//!
//! # Absent
//! How it is found out: as our command line does it where a server has no answer of its own.

use server::{Reasons, ReasonsAnswer, ReasonsAsked};

/// Reads the API as a user who may read all.
pub(crate) struct FromApi(pub(crate) kube::Client);

impl Reasons for FromApi {
    fn answer(&self, asked: ReasonsAsked) -> ReasonsAnswer {
        let client = self.0.clone();
        Box::pin(async move {
            let ReasonsAsked { namespace, name, node, label_selector: selector, summary } = asked;
            cli::reasons(client, &namespace, &name, &cli::ReasonsQuery { node, selector, summary }).await
        })
    }
}
