//! A page in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Version 0.0.4 is what everybody reads.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Series by the name of their metric: the format wants all of one together.
#[derive(Default)]
pub(super) struct Page {
    families: BTreeMap<&'static str, (Kind, String)>,
}

impl Page {
    /// Adds a series.
    pub(super) fn put(&mut self, kind: Kind, name: &'static str, labels: &[(&str, &str)], value: f64) {
        self.line(kind, name, "", labels, value);
    }

    pub(super) fn counter(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        self.put(Kind::Counter, name, labels, value);
    }

    pub(super) fn gauge(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        self.put(Kind::Gauge, name, labels, value);
    }

    /// Adds a line of a series whose name has a suffix (of a histogram).
    pub(super) fn line(&mut self, kind: Kind, name: &'static str, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let (_, out) = self.families.entry(name).or_insert((kind, String::new()));
        out.push_str(name);
        out.push_str(suffix);
        for (index, (label, value)) in labels.iter().enumerate() {
            out.push(if index == 0 { '{' } else { ',' });
            let _ = write!(out, "{label}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            out.push('}');
        }
        // Writing to a String can't fail.
        let _ = writeln!(out, " {value}");
    }

    pub(super) fn text(self) -> String {
        let mut text = String::new();
        for (name, (kind, lines)) in self.families {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = write!(text, "# TYPE {name} {kind}\n{lines}");
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_metric_stand_together() {
        let mut page = Page::default();
        page.counter("b_total", &[("pod", "a\"b"), ("n", "1")], 1.5);
        page.gauge("a", &[], 3.0);
        page.counter("b_total", &[("pod", "c")], 2.0);
        let want =
            "# TYPE a gauge\na 3\n# TYPE b_total counter\nb_total{pod=\"a\\\"b\",n=\"1\"} 1.5\nb_total{pod=\"c\"} 2\n";
        assert_eq!(page.text(), want);
    }
}
