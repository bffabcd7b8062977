//! Why nodes run a daemon, for the server's clients: found out from the API itself, on request.
//!
//! # Absent
//! How it is found out: as our command line does it where a server has no answer of its own.

use decide::node_health::Grace;
use server::{Reasons, ReasonsAnswer, ReasonsAsked};

/// Reads the API as a user who may read all.
pub(crate) struct FromApi {
    pub(crate) client: kube::Client,
    /// As the controllers have it.
    pub(crate) grace: Grace,
}

impl Reasons for FromApi {
    fn answer(&self, asked: ReasonsAsked) -> ReasonsAnswer {
        let (client, grace) = (self.client.clone(), self.grace);
        Box::pin(async move {
            let ReasonsAsked { namespace, name, node, label_selector: selector, summary } = asked;
            cli::reasons(client, &namespace, &name, &cli::ReasonsQuery { node, selector, summary }, grace).await
        })
    }
}
