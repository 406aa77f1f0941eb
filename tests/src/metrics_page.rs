//! `docs/metrics.md`, made of the descriptions that the programs' metrics carry.

use trunkline_operator::metrics::Metrics;
use trunkline_telemetry::metrics::table;

/// The page, as it is to be. `cargo run -p trunkline-tests --bin generate-metrics-page` writes it.
#[must_use]
pub fn metrics_page() -> String {
    let (ingester, operator) = (trunkline_ingester::metrics(), Metrics::new());
    format!(
        "{INTRODUCTION}\n## Ingester\n\n{INGESTER}\n{}\n## Operator\n\n{OPERATOR}\n{}",
        table(&ingester),
        table(operator.descriptions()),
    )
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Made of the code by `cargo run -p trunkline-tests --bin generate-metrics-page`. -->

Ingesters and the operator serve `GET /metrics` as OpenMetrics text, which Prometheus reads as it is. \
Labels come from the configuration or the program, never from a request, so that their number is \
bounded by the number of sources. A metric with labels is there once it has counted something. A \
histogram has the samples `_bucket`, `_count` and `_sum`.
";

const INGESTER: &str = "\
On the admin listener (`--admin-listen`; port 9090 of a pod, `127.0.0.1:9090` of `trunkline dev`); see \
[health.md](health.md). What no source answers to counts under `source=\"\"`. \
[rejections.md](rejections.md) explains each `reason` of a refusal.

```console
$ curl -s http://127.0.0.1:9090/metrics | grep '^# TYPE trunkline_ingester_events'
# TYPE trunkline_ingester_events counter
```
";

const OPERATOR: &str = "\
On port 8080 of a pod (`--metrics-listen`).
";
