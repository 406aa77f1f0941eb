//! One source and its sender.

use trunkline_model::request::BodyFormat;
use trunkline_tests::{Answer, Client, SourceDraft, Station};

/// A source that takes every request, and a sender.
pub(crate) struct Source {
    pub(crate) station: Station,
    pub(crate) client: Client,
}

impl Source {
    /// A source `default/source` of a format.
    pub(crate) async fn of(format: BodyFormat) -> Self {
        let mut draft = SourceDraft::unverified("source");
        draft.settings.body = format;
        Self::from(draft).await
    }

    /// `JsonArray` of a manifest.
    pub(crate) async fn of_json_arrays() -> Self {
        let mut draft = SourceDraft::unverified("source");
        draft.settings.split_arrays = true;
        Self::from(draft).await
    }

    pub(crate) async fn from(draft: SourceDraft) -> Self {
        let station = Station::with(vec![draft]).await;
        let client = station.ingester.client();
        Self { station, client }
    }

    pub(crate) async fn post(
        &mut self,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let (path, body) = (self.station.path(), body.as_ref().to_vec());
        self.client.post(&path, headers, body).await.unwrap()
    }

    /// Posts and expects 200 with an empty body.
    pub(crate) async fn accept(&mut self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let answer = self.post(headers, body).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    }

    /// Posts and expects this refusal.
    pub(crate) async fn refuse(&mut self, body: impl AsRef<[u8]>, status: u16, text: &str) {
        let answer = self.post(&[], body).await;
        assert_eq!((answer.status, answer.text.as_str()), (status, text));
    }

    /// An expression over every row, in order; `-` for NULL.
    pub(crate) async fn column(&self, expression: &str) -> Vec<String> {
        let sql = format!(
            "SELECT coalesce(({expression})::text, '-') FROM source.events \
             ORDER BY received_at, delivery_id, position"
        );
        let rows = self.station.database.rows(&sql, &[]).await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn repaired(&self) -> f64 {
        self.station
            .ingester
            .metric("trunkline_ingester_repaired_events_total", "default/source")
            .await
    }
}
