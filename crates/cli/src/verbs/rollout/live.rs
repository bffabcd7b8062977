//! `rollout status` of a DaemonSet as it happens: a bar and the causes on a terminal, or a line of JSON for each change.
//!
//! # Invariants
//! - It ends: with the server's verdict, with words when it waits for a person, when nothing moves for the progress deadline,
//!   or when time is up.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::verdict::{self, Outcome, Verdict};
use crate::client::Api;
use crate::failure::{Failure, Result, message};
use crate::reasons::{self, ReasonsQuery, named};
use crate::targets::Target;

/// Time between two looks: as fast as eyes follow, slow enough to cost the server nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks that may fail in a row before it is given up: a server that starts anew is back within these.
const FAILURES_MAX: u32 = 30;
/// Causes shown below the bar: more would not fit on a terminal beside other work.
const CAUSES_SHOWN: usize = 8;
/// Width of the bar in characters.
const TEMPLATE: &str = "{prefix} [{bar:30}] {pos}/{len} {msg}";

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Bar,
    Json,
}

/// How long it is followed.
pub(super) struct Limits {
    pub(super) watch: bool,
    /// All in all.
    pub(super) timeout: Duration,
    /// Without any change, where the server has no deadline of its own.
    pub(super) progress: Duration,
}

/// Follows a rollout to its end.
pub(super) async fn follow(api: &Api, target: &Target, shown: Shown, limits: &Limits) -> Result<()> {
    let began = Instant::now();
    let mut view = View::new(shown, &target.name);
    let mut pace = Pace::default();
    let mut failures = 0;
    loop {
        let (set, report) = match look(api, target).await {
            Ok(seen) => seen,
            Err(e) if matches!(e, Failure::Connection(_)) && failures < FAILURES_MAX => {
                failures += 1;
                sleep(LOOK_EVERY).await;
                continue;
            }
            Err(e) => return Err(e),
        };
        failures = 0;
        let mut verdict = verdict::of(&set);
        let now = Instant::now();
        pace.see(&verdict, now);
        let stands = now.duration_since(pace.moved.unwrap_or(now));
        if verdict.outcome == Outcome::Going && !verdict.has_deadline && stands >= limits.progress {
            verdict.outcome = Outcome::Failed;
            verdict.phase = "ProgressDeadlineExceeded".to_owned();
            verdict.message = format!("nothing has moved for {} s", limits.progress.as_secs());
        }
        view.show(target, &verdict, report.as_ref(), pace.left(&verdict, now));
        match verdict.outcome {
            Outcome::Complete => return view.end(&target.name, &verdict),
            Outcome::Failed | Outcome::Waiting => {
                view.end(&target.name, &verdict)?;
                return message(said(&target.name, &verdict));
            }
            Outcome::Going if !limits.watch => return Ok(()),
            Outcome::Going if now.duration_since(began) >= limits.timeout => {
                view.leave();
                return message("timed out waiting for the condition");
            }
            Outcome::Going => sleep(LOOK_EVERY).await,
        }
    }
}

async fn look(api: &Api, target: &Target) -> Result<(Value, Option<Value>)> {
    let set = target.get(api).await?;
    let query = ReasonsQuery { summary: true, ..ReasonsQuery::default() };
    Ok((set, reasons::ask(api, &target.namespace, &target.name, &query).await.ok()))
}

/// Why it ended without being complete.
pub(super) fn said(name: &str, verdict: &Verdict) -> String {
    match verdict.outcome {
        Outcome::Waiting => format!("daemon set {name:?} waits for you ({}): {}", verdict.phase, verdict.message),
        _ => format!("daemon set {name:?} failed ({}): {}", verdict.phase, verdict.message),
    }
}

/// How fast it goes.
#[derive(Debug, Default)]
struct Pace {
    /// What was done when it was first seen, and when that was.
    first: Option<(i64, Instant)>,
    last: Option<(i64, i64, i64)>,
    moved: Option<Instant>,
}

fn done(verdict: &Verdict) -> i64 {
    verdict.updated.min(verdict.available).clamp(0, verdict.desired.max(0))
}

impl Pace {
    fn see(&mut self, verdict: &Verdict, now: Instant) {
        let counts = (verdict.desired, verdict.updated, verdict.available);
        if self.last.replace(counts) != Some(counts) {
            self.moved = Some(now);
        }
        if self.first.is_none_or(|(first, _)| done(verdict) < first) {
            self.first = Some((done(verdict), now));
        }
    }

    /// Seconds until all nodes are done at the pace so far; `None` while there is none.
    fn left(&self, verdict: &Verdict, now: Instant) -> Option<u64> {
        let (first, at) = self.first?;
        let gained = u64::try_from(done(verdict) - first).ok().filter(|n| *n > 0)?;
        let remaining = u64::try_from(verdict.desired - done(verdict)).ok()?;
        let elapsed_ms = u64::try_from(now.duration_since(at).as_millis()).ok()?;
        Some(elapsed_ms.saturating_mul(remaining).div_ceil(gained).div_ceil(1000))
    }
}

/// What has been shown.
struct View {
    shown: Shown,
    bar: Option<ProgressBar>,
    line: Value,
}

impl View {
    fn new(shown: Shown, name: &str) -> Self {
        let bar = (shown == Shown::Bar).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stdout());
            // The template is a constant that a test reads.
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(name.to_owned());
            bar
        });
        Self { shown, bar, line: Value::Null }
    }

    fn show(&mut self, target: &Target, verdict: &Verdict, report: Option<&Value>, left: Option<u64>) {
        match self.shown {
            Shown::Bar => {
                let Some(bar) = &self.bar else { return };
                bar.set_length(u64::try_from(verdict.desired).unwrap_or_default());
                bar.set_position(u64::try_from(done(verdict)).unwrap_or_default());
                bar.set_message(below(verdict, report, left));
                bar.tick();
            }
            Shown::Json => {
                let line = line(target, verdict, report);
                if line != self.line {
                    let mut dated = line.clone();
                    dated["time"] = Timestamp::now().to_string().into();
                    dated["estimateSeconds"] = left.into();
                    println!("{dated}");
                    self.line = line;
                }
            }
        }
    }

    fn leave(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }

    fn end(&self, name: &str, verdict: &Verdict) -> Result<()> {
        self.leave();
        if self.shown == Shown::Bar && verdict.outcome == Outcome::Complete {
            println!("daemon set {name:?} successfully rolled out");
        }
        Ok(())
    }
}

/// What stands behind and below the bar.
fn below(verdict: &Verdict, report: Option<&Value>, left: Option<u64>) -> String {
    let left = match left {
        Some(seconds) if verdict.outcome == Outcome::Going => format!(", about {} left", span(seconds)),
        _ => String::new(),
    };
    let mut text = format!("updated {}, available {}{left}\n  {}", verdict.updated, verdict.available, verdict.message);
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = report.and_then(|r| r["causes"].as_array()).into_iter().flatten();
    for cause in causes.filter(|c| c["state"] == "Waits").take(CAUSES_SHOWN) {
        let count = cause["nodes"].as_u64().unwrap_or_default();
        text.push_str(&format!("\n  {count} {}: {} ({})", part(&cause["cause"]), part(&cause["about"]), named(cause)));
    }
    for (about, nodes) in report.map(reasons::held).into_iter().flatten().take(CAUSES_SHOWN) {
        text.push_str(&format!("\n  {nodes} to come: {about}"));
    }
    text
}

/// `1m20s`.
pub(crate) fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, _) => format!("{h}h{m}m"),
    }
}

/// One state as JSON, without what changes by time alone.
fn line(target: &Target, verdict: &Verdict, report: Option<&Value>) -> Value {
    let part = |name: &str| report.map_or(json!([]), |r| r[name].clone());
    json!({
        "daemonSet": {"namespace": target.namespace, "name": target.name},
        "outcome": verdict.outcome.word(),
        "phase": verdict.phase,
        "message": verdict.message,
        "desired": verdict.desired,
        "updated": verdict.updated,
        "available": verdict.available,
        "causes": part("causes"),
        "held": part("held"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(updated: i64, available: i64) -> Verdict {
        Verdict {
            outcome: Outcome::Going,
            phase: "RollingOut".into(),
            message: "revision x is being rolled out".into(),
            desired: 10,
            updated,
            available,
            has_deadline: true,
        }
    }

    #[test]
    fn the_template_is_sound() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn the_pace_so_far_says_how_long_it_takes() {
        let began = Instant::now();
        let mut pace = Pace::default();
        pace.see(&verdict(2, 9), began);
        assert_eq!(pace.left(&verdict(2, 9), began), None, "nothing was gained yet");
        let later = began + Duration::from_secs(30);
        pace.see(&verdict(5, 9), later);
        assert_eq!(pace.left(&verdict(5, 9), later), Some(50), "3 nodes in 30 s, 5 to go");
        assert_eq!(pace.moved, Some(later));
        pace.see(&verdict(5, 9), later + Duration::from_secs(9));
        assert_eq!(pace.moved, Some(later), "nothing has moved since");
        assert_eq!([span(9), span(80), span(3720)], ["9s", "1m20s", "1h2m"]);
    }

    #[test]
    fn below_the_bar_stands_who_holds_it_up() {
        let report = json!({
            "causes": [
                {"state": "Runs", "cause": "Available", "about": "the pod is available", "nodes": 8, "examples": ["n-0"]},
                {"state": "Waits", "cause": "ImagePull", "about": "image x can't be had", "nodes": 2, "examples": ["n-1", "n-2"]},
            ],
            "held": [{"about": "maxUnavailable 2 is used up by n-1, n-2", "nodes": 5}],
        });
        let want = "\
updated 5, available 8, about 9s left
  revision x is being rolled out
  2 ImagePull: image x can't be had (n-1, n-2)
  5 to come: maxUnavailable 2 is used up by n-1, n-2";
        assert_eq!(below(&verdict(5, 8), Some(&report), Some(9)), want);
    }
}
