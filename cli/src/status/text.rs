//! The report for people: one screen, colour only on a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::report::{ClusterReport, PodReport, Readiness, Report, Serving, SourceReport};

/// What stands where there is nothing.
const NONE: &str = "-";

/// The whole report.
pub(super) fn text(report: &Report, colour: bool) -> String {
    let mut text = Text {
        out: String::new(),
        colour,
    };
    for cluster in &report.clusters {
        text.cluster(cluster);
    }
    if !report.other_sources.is_empty() {
        text.line("", "Sources without their WebhookCluster");
        text.sources(&report.other_sources);
    }
    for object in &report.unreadable {
        text.line("", &format!("unreadable  {object}"));
    }
    if report.clusters.is_empty() && report.other_sources.is_empty() && report.unreadable.is_empty()
    {
        text.line(
            "",
            "There is no WebhookCluster and no WebhookSource here; -A looks everywhere.",
        );
    }
    text.out.trim_end().to_owned() + "\n"
}

struct Text {
    out: String,
    colour: bool,
}

/// A cell of a table: what it shows, and how.
struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: Style::new(),
        }
    }

    fn or_none(text: Option<&String>) -> Self {
        Self::plain(text.cloned().unwrap_or_else(|| NONE.to_owned()))
    }

    fn judged(text: impl Into<String>, is_good: bool) -> Self {
        let colour = if is_good {
            AnsiColor::Green
        } else {
            AnsiColor::Red
        };
        Self {
            text: text.into(),
            style: Style::new().fg_color(Some(colour.into())),
        }
    }
}

impl Text {
    fn line(&mut self, indent: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{indent}{text}");
    }

    fn styled(&self, text: &str, style: Style) -> String {
        if self.colour && style != Style::new() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn cluster(&mut self, cluster: &ClusterReport) {
        let title = format!("WebhookCluster {}/{}", cluster.namespace, cluster.name);
        let title = self.styled(&title, Style::new().bold());
        let verdict = self.verdict(&cluster.ready);
        self.line("", &format!("{title}  {verdict}"));
        self.explanation("  ", &cluster.ready);
        let database = self.verdict(&cluster.database);
        let roles = cluster
            .roles
            .as_deref()
            .map_or_else(String::new, |roles| format!(", roles {roles}"));
        self.line("  ", &format!("database  {database}{roles}"));
        self.remark(&cluster.database, &cluster.ready);
        if let Some(certificate) = &cluster.certificate {
            let verdict = self.verdict(certificate);
            self.line("  ", &format!("tls       {verdict}"));
            self.remark(certificate, &cluster.ready);
        }
        self.line(
            "  ",
            &format!("image     {}", cluster.image.as_deref().unwrap_or(NONE)),
        );
        self.line(
            "  ",
            &format!("url       {}", cluster.url.as_deref().unwrap_or(NONE)),
        );
        self.line(
            "  ",
            &format!("pods      {}/{}", cluster.ready_replicas, cluster.replicas),
        );
        self.pods(&cluster.pods);
        if let Some(refusals) = &cluster.refusals {
            let what = format!("refusals  {}, for a path of no source", refusals.summary());
            self.line("  ", &what);
            self.line("            ", &format!("next: {}", refusals.next_step));
        }
        self.line("", "");
        if cluster.sources.is_empty() {
            self.line("  ", "No WebhookSource refers to it yet.");
        } else {
            self.sources(&cluster.sources);
        }
        self.line("", "");
    }

    /// `Ready`, or `not ready (Reason)`.
    fn verdict(&self, readiness: &Readiness) -> String {
        let (text, is_good) = match readiness.status.as_str() {
            "True" => ("Ready".to_owned(), true),
            "False" => (format!("not ready ({})", readiness.reason), false),
            _ => (format!("not known ({})", readiness.reason), false),
        };
        let cell = Cell::judged(text, is_good);
        self.styled(&cell.text, cell.style)
    }

    /// What there is to say of a part. What `Ready` says already is not said again.
    fn remark(&mut self, part: &Readiness, ready: &Readiness) {
        let is_said = part.message == ready.message;
        if !is_said && (!part.is_true() || part.reason.ends_with("Warning")) {
            self.line("            ", &part.message);
        }
    }

    /// For what is not ready: what is wrong, and what to do.
    fn explanation(&mut self, indent: &str, readiness: &Readiness) {
        if readiness.is_true() {
            return;
        }
        self.line(indent, &readiness.message);
        if let Some(next_step) = &readiness.next_step {
            let next = self.styled("next:", Style::new().bold());
            self.line(indent, &format!("{next} {next_step}"));
        }
    }

    fn pods(&mut self, pods: &[PodReport]) {
        let rows = pods.iter().map(|pod| {
            let (configuration, is_newest) = match pod.configuration {
                Serving::Newest => ("newest", true),
                Serving::Behind => ("behind", false),
                Serving::Unknown => ("not known", false),
            };
            let database = pod.database.as_deref();
            let cells = vec![
                Cell::plain(&pod.name),
                Cell::judged(if pod.ready { "ready" } else { "not ready" }, pod.ready),
                Cell::judged(format!("configuration {configuration}"), is_newest),
                Cell::judged(
                    format!("database {}", database.unwrap_or("not known")),
                    database == Some("ready"),
                ),
            ];
            (cells, pod.notes.clone())
        });
        self.table("            ", rows.collect());
    }

    fn sources(&mut self, sources: &[SourceReport]) {
        let title = |text: &str| Cell {
            text: text.to_owned(),
            style: Style::new().bold(),
        };
        let mut rows = vec![(
            vec![
                title("SOURCE"),
                title("READY"),
                title("RELATION"),
                title("URL"),
            ],
            Vec::new(),
        )];
        for source in sources {
            let cells = vec![
                Cell::plain(&source.name),
                Cell::judged(&source.ready.status, source.ready.is_true()),
                Cell::or_none(source.relation.as_ref()),
                Cell::or_none(source.url.as_ref()),
            ];
            let mut notes = Vec::new();
            if !source.ready.is_true() {
                notes.push(format!("{}: {}", source.ready.reason, source.ready.message));
                notes.extend(
                    source
                        .ready
                        .next_step
                        .iter()
                        .map(|step| format!("next: {step}")),
                );
            }
            if let Some(views) = source.views.as_ref().filter(|views| !views.is_true()) {
                notes.push(format!("views: {}: {}", views.reason, views.message));
            }
            if let Some(refusals) = &source.refusals {
                notes.push(format!("refused {}", refusals.summary()));
                notes.push(format!("next: {}", refusals.next_step));
                notes.push(format!(
                    "more: SELECT occurred_at, reason, detail, count FROM trunkline.rejections WHERE \
                     source = '{}/{}' ORDER BY occurred_at DESC",
                    source.namespace, source.name
                ));
            }
            rows.push((cells, notes));
        }
        self.table("  ", rows);
    }

    /// Rows of cells in columns, below each its notes.
    fn table(&mut self, indent: &str, rows: Vec<(Vec<Cell>, Vec<String>)>) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|(cells, _)| cells.get(column));
            cells
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let columns = rows.iter().map(|(cells, _)| cells.len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (cells, notes) in rows {
            let mut line = String::new();
            let last = cells.len().saturating_sub(1);
            for (column, cell) in cells.iter().enumerate() {
                line.push_str(&self.styled(&cell.text, cell.style));
                if column < last {
                    let missing = widths[column] - cell.text.chars().count();
                    line.push_str(&" ".repeat(missing + 2));
                }
            }
            self.line(indent, &line);
            for note in notes {
                self.line(indent, &format!("  {note}"));
            }
        }
    }
}
