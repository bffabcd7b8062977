//! Clients that make, change and remove objects at random, and keep what they are told.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::check::{Change, uid};
use super::{JSON, KINDS, Kind, NAMESPACES, SHARED, namespace, revision};
use crate::load::{Connection, Target};

/// Names of one client's own, in each kind and namespace.
const OWN: usize = 4;
/// What labels say: watchers select by it.
pub(super) const COLOURS: [&str; 3] = ["red", "green", "blue"];

/// Writes until `end`; what the server said to it.
pub(super) async fn write(
    target: Target,
    number: usize,
    seed: u64,
    pause: Duration,
    end: Instant,
) -> Result<Vec<Change>> {
    let mut writer = Writer {
        connection: Connection::open(&target).await?,
        random: StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number as u64)),
        number,
        changes: Vec::new(),
    };
    let mut next = Instant::now() + pause.mul_f64(writer.random.random_range(0.0..1.0));
    while Instant::now() < end {
        tokio::time::sleep_until(next.into()).await;
        next = Instant::now().max(next + pause);
        writer.step().await?;
    }
    Ok(writer.changes)
}

struct Writer {
    connection: Connection,
    random: StdRng,
    number: usize,
    changes: Vec<Change>,
}

/// The object of one step.
struct Place {
    kind: usize,
    namespace: usize,
    name: String,
}

impl Place {
    fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }

    fn collection(&self) -> String {
        format!("{}/namespaces/{}/{}", self.kind().base, namespace(self.namespace), self.kind().plural)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }
}

impl Writer {
    async fn step(&mut self) -> Result<()> {
        let shared = self.random.random_ratio(1, 5);
        let name = match shared {
            true => format!("shared-{}", self.random.random_range(0..SHARED)),
            false => format!("w{}-{}", self.number, self.random.random_range(0..OWN)),
        };
        let place = Place {
            kind: self.random.random_range(0..KINDS.len()),
            namespace: self.random.random_range(0..NAMESPACES),
            name,
        };
        let colour = COLOURS[self.random.random_range(0..COLOURS.len())];
        let note = self.random.random_range(0..1_000_000).to_string();
        let object = object(&place, colour, &note);
        match self.random.random_range(0..100) {
            0..30 => self.change(&place, Method::POST, &place.collection(), JSON, object).await,
            30..50 => {
                let patch = json!({"metadata": {"labels": {"colour": colour}, "annotations": {"note": note}}});
                self.change(&place, Method::PATCH, &place.path(), "application/merge-patch+json", patch).await
            }
            50..60 => {
                let patch = json!({"metadata": {"annotations": {"note": note}}});
                let media = "application/strategic-merge-patch+json";
                self.change(&place, Method::PATCH, &place.path(), media, patch).await
            }
            60..75 => {
                let query = format!("{}?fieldManager=w{}&force=true", place.path(), self.number);
                self.change(&place, Method::PATCH, &query, "application/apply-patch+yaml", object).await
            }
            75..88 => self.update(&place, object).await,
            _ => self.delete(&place).await,
        }
    }

    /// A write whose answer is the object. What others did in between is no failure of the server.
    async fn change(&mut self, place: &Place, method: Method, path: &str, media: &str, body: Value) -> Result<()> {
        let answer = self.connection.ask(method, path, media, body.to_string()).await?;
        if !matches!(answer.code, 404 | 409) {
            let object = answer.json()?;
            let labels = &object["metadata"]["labels"];
            self.changes.push(Change {
                kind: place.kind,
                namespace: place.namespace,
                name: place.name.clone(),
                uid: uid(&object),
                revision: Some(revision(&object)?),
                colour: labels["colour"].as_str().unwrap_or_default().to_owned(),
            });
        }
        Ok(())
    }

    /// Reads, changes and writes with the revision that was read.
    async fn update(&mut self, place: &Place, mut object: Value) -> Result<()> {
        let read = self.connection.read(&place.path(), JSON).await?;
        if read.code == 404 {
            return Ok(());
        }
        object["metadata"]["resourceVersion"] = read.json()?["metadata"]["resourceVersion"].take();
        self.change(place, Method::PUT, &place.path(), JSON, object).await
    }

    async fn delete(&mut self, place: &Place) -> Result<()> {
        let answer = self.connection.ask(Method::DELETE, &place.path(), JSON, "").await?;
        if answer.code == 404 {
            return Ok(());
        }
        let answer = answer.json()?;
        let gone = match answer["kind"].as_str() {
            Some("Status") => super::check::hash(answer["details"]["uid"].as_str().unwrap_or_default()),
            _ => uid(&answer),
        };
        if gone == super::check::hash("") {
            bail!("a deletion does not say of what: {answer}");
        }
        self.changes.push(Change {
            kind: place.kind,
            namespace: place.namespace,
            name: place.name.clone(),
            uid: gone,
            revision: None,
            colour: String::new(),
        });
        Ok(())
    }
}

fn object(place: &Place, colour: &str, note: &str) -> Value {
    let kind = place.kind();
    let mut object = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {
        "name": place.name, "labels": {"colour": colour}, "annotations": {"note": note}}});
    let (field, value) = match kind.kind {
        "ConfigMap" => ("data", json!({"filler": "x".repeat(300)})),
        "Secret" => ("stringData", json!({"filler": note})),
        "Lease" => ("spec", json!({"holderIdentity": note, "leaseDurationSeconds": 15})),
        _ => (
            "spec",
            json!({"selector": {"matchLabels": {"app": "soak"}}, "template": {
                "metadata": {"labels": {"app": "soak"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}),
        ),
    };
    object[field] = value;
    object
}
