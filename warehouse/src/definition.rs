//! A view of ours as SQL, and how it takes the place of the one that is there.
//!
//! Invariant: a view that others' objects depend on is never dropped, and no right that someone
//! granted on it is lost when it is made anew.

use sha2::{Digest, Sha256};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use trunkline_model::names::{RelationName, quote_identifier, quote_literal};

use crate::apply::run;
use crate::catalog;
use crate::error::Error;
use crate::step::{Outcome, PendingReason, Report, Step};

/// A right on a relation as `GRANT` words it: privilege, grantee, whether with grant option.
pub(crate) type Grant = (String, String, bool);

/// A view as it is to be.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) relation: RelationName,
    /// Whether no condition of a reader's is looked at before the view's own.
    pub(crate) is_barrier: bool,
    /// `SELECT …`.
    pub(crate) query: String,
    /// `COMMENT ON …`, joined.
    pub(crate) comments: String,
}

impl Definition {
    /// A view with what is said of it and of each of its columns.
    pub(crate) fn new(
        relation: RelationName,
        is_barrier: bool,
        query: String,
        comment: &str,
        columns: &[(&str, &str)],
    ) -> Self {
        let name = relation.quoted();
        let mut comments = vec![format!(
            "COMMENT ON VIEW {name} IS {}",
            quote_literal(comment)
        )];
        comments.extend(columns.iter().map(|(column, text)| {
            format!(
                "COMMENT ON COLUMN {name}.{} IS {}",
                quote_identifier(column),
                quote_literal(text)
            )
        }));
        Self {
            relation,
            is_barrier,
            query,
            comments: comments.join(";\n"),
        }
    }

    /// Creates the view, or replaces it by one that has the same columns and perhaps more.
    pub(crate) fn create_or_replace(&self) -> String {
        format!("CREATE OR REPLACE {}", self.view())
    }

    /// Makes the view anew, with the rights that `grants` lists.
    pub(crate) fn recreate(&self, grants: &[Grant]) -> String {
        let name = self.relation.quoted();
        let mut statements = vec![
            format!("DROP VIEW {name}"),
            format!("CREATE {}", self.view()),
        ];
        statements.extend(grant_again(&name, grants));
        statements.join(";\n")
    }

    fn view(&self) -> String {
        format!(
            "VIEW {}{} AS\n{}",
            self.relation.quoted(),
            options(self.is_barrier),
            self.query
        )
    }

    /// Names the definition. PostgreSQL's own text of it differs from ours and between versions.
    pub(crate) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(&self.query);
        digest.update([0]);
        digest.update(&self.comments);
        hex::encode(&digest.finalize()[..16])
    }

    /// Does `replace`, and where a column is to go or to move, which REPLACE cannot do, the step that
    /// `recreate` makes of the rights that there are.
    ///
    /// # Errors
    /// The server's refusals. Not when it has to wait for others: the report then has a pending step,
    /// and the old view is what it was.
    pub(crate) async fn ensure(
        &self,
        client: &Client,
        replace: &Step,
        recreate: impl FnOnce(&[Grant]) -> Step,
    ) -> Result<Report, Error> {
        let outcome = match run(client, replace).await {
            Err(error) if error.code() == Some(&SqlState::INVALID_TABLE_DEFINITION) => {
                let grants = catalog::grants(client, &self.relation.quoted()).await?;
                run(client, &recreate(&grants)).await
            }
            outcome => outcome,
        };
        report(replace, outcome)
    }
}

/// The options of a view: ` WITH …`, or nothing.
pub(crate) const fn options(is_barrier: bool) -> &'static str {
    if is_barrier {
        " WITH (security_barrier = true)"
    } else {
        ""
    }
}

/// The statements that give the view of that name, in SQL, the rights which it had.
pub(crate) fn grant_again(name: &str, grants: &[Grant]) -> impl Iterator<Item = String> {
    grants.iter().map(move |(privilege, grantee, grantable)| {
        let option = if *grantable { " WITH GRANT OPTION" } else { "" };
        format!("GRANT {privilege} ON {name} TO {grantee}{option}")
    })
}

/// What others do that keeps a step from being done; None when it ended in another way.
pub(crate) fn obstacle(outcome: &Result<Outcome, Error>) -> Option<PendingReason> {
    match outcome {
        Ok(Outcome::Locked) => Some(PendingReason::Locked),
        Ok(_) => None,
        Err(error) => error.dependants().map(PendingReason::Dependants),
    }
}

/// How a step ended that others' objects may keep from being done.
pub(crate) fn report(step: &Step, outcome: Result<Outcome, Error>) -> Result<Report, Error> {
    let Some(reason) = obstacle(&outcome) else {
        return Ok(Report::of(step, outcome?));
    };
    let mut report = Report::default();
    report.defer(step, reason);
    Ok(report)
}
