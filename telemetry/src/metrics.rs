//! Metrics that are described where they are made: [`Catalog`].
//!
//! Invariant: what is registered is described, so that the reference page, made of the
//! descriptions, cannot leave one out.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

/// The content type of [`Catalog::encode`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric, as its reference page lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name of its samples; a histogram's are followed by `_bucket`, `_count` and `_sum`.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// `seconds`, `bytes` or nothing.
    pub unit: &'static str,
    /// One sentence.
    pub help: String,
}

impl Description {
    /// The name in the lines `# TYPE` and `# HELP`, which leave out what follows from the type.
    #[must_use]
    pub fn family(&self) -> &str {
        let suffix = match self.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(&self.name)
    }
}

/// The names of a set of labels, as `EncodeLabelSet` writes them.
pub trait LabelNames {
    /// In their order.
    const NAMES: &'static [&'static str];
}

/// What a [`Catalog`] takes.
pub trait Described: Metric + Clone {
    /// As in [`Description::kind`].
    const KIND: &'static str;
    /// As in [`Description::labels`].
    const LABELS: &'static [&'static str];
}

impl Described for Counter {
    const KIND: &'static str = "counter";
    const LABELS: &'static [&'static str] = &[];
}

impl Described for Gauge {
    const KIND: &'static str = "gauge";
    const LABELS: &'static [&'static str] = &[];
}

impl Described for Gauge<f64, AtomicU64> {
    const KIND: &'static str = "gauge";
    const LABELS: &'static [&'static str] = &[];
}

impl Described for Histogram {
    const KIND: &'static str = "histogram";
    const LABELS: &'static [&'static str] = &[];
}

impl<L, M, C> Described for Family<L, M, C>
where
    Self: Metric + Clone,
    L: LabelNames,
    M: Described,
    C: MetricConstructor<M>,
{
    const KIND: &'static str = M::KIND;
    const LABELS: &'static [&'static str] = L::NAMES;
}

/// The metrics of a program, each with its description.
pub struct Catalog {
    registry: Registry,
    prefix: &'static str,
    descriptions: Vec<Description>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("descriptions", &self.descriptions)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// An empty one, all of whose names begin with `prefix_`.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self {
            registry: Registry::with_prefix(prefix),
            prefix,
            descriptions: Vec::new(),
        }
    }

    /// Registers a metric without a unit and gives it back. `help` has no full stop at its end; the
    /// format puts it there. The type puts `_total` behind the name of a counter.
    pub fn add<M: Described>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        self.describe::<M>(name, "", help);
        metric
    }

    /// The same in seconds; `_seconds` is put behind the name.
    pub fn add_seconds<M: Described>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.add_with_unit(name, help, Unit::Seconds, metric)
    }

    /// The same in bytes; `_bytes` is put behind the name.
    pub fn add_bytes<M: Described>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.add_with_unit(name, help, Unit::Bytes, metric)
    }

    /// Registers `build_info`, whose value is 1.
    pub fn add_build_info(&mut self, version: &'static str) {
        let help = "The version of the program";
        let info = Info::new([("version", version)]);
        self.registry.register("build", help, info);
        self.push("build_info", "info", &["version"], "", help);
    }

    /// Everything that was registered, in that order.
    #[must_use]
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// The values as [`OPENMETRICS`] text. Nothing is said of a metric with labels before it has
    /// counted anything.
    ///
    /// # Errors
    /// Only when formatting fails.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn add_with_unit<M: Described>(&mut self, name: &str, help: &str, unit: Unit, metric: M) -> M {
        let suffix = unit.as_str().to_owned();
        self.registry
            .register_with_unit(name, help, unit, metric.clone());
        self.describe::<M>(name, &suffix, help);
        metric
    }

    fn describe<M: Described>(&mut self, name: &str, unit: &str, help: &str) {
        let (unit, mut name) = match unit {
            "seconds" => ("seconds", format!("{name}_seconds")),
            "bytes" => ("bytes", format!("{name}_bytes")),
            _ => ("", name.to_owned()),
        };
        if M::KIND == "counter" {
            name.push_str("_total");
        }
        self.push(&name, M::KIND, M::LABELS, unit, help);
    }

    fn push(
        &mut self,
        name: &str,
        kind: &'static str,
        labels: &'static [&'static str],
        unit: &'static str,
        help: &str,
    ) {
        self.descriptions.push(Description {
            name: format!("{}_{name}", self.prefix),
            kind,
            labels,
            unit,
            help: format!("{help}."),
        });
    }
}

/// A table in Markdown.
#[must_use]
pub fn table(descriptions: &[Description]) -> String {
    let mut table =
        "| Metric | Type | Labels | Unit | Meaning |\n|---|---|---|---|---|\n".to_owned();
    for description in descriptions {
        let Description {
            name,
            kind,
            labels,
            unit,
            help,
        } = description;
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        table.push_str(&format!(
            "| `{name}` | {kind} | {labels} | {unit} | {help} |\n"
        ));
    }
    table
}
