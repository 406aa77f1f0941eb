//! Which PostgreSQL `trunkline dev` writes to.

use std::path::PathBuf;

use anyhow::Context;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::secret::SecretBytes;
use trunkline_operator::validate::{DatabaseAccess, OWNER_FIELD};
use trunkline_pgconn::read_files;

use crate::postgres::{Options, PrivatePostgres};
use crate::segment::sign;

use super::args::DevArgs;

/// The database, and the server when it is ours.
#[derive(Debug)]
pub(super) struct Database {
    /// The owner's connection.
    pub(super) owner: DatabaseLogin,
    /// The URL to show: with its password only where the server is ours.
    pub(super) shown_url: String,
    /// Why this one, in words.
    pub(super) choice: String,
    server: Option<PrivatePostgres>,
}

impl Database {
    /// `--database-url` wins over the Secret of the WebhookCluster, and that over a server of our
    /// own, which is started here.
    pub(super) async fn open(args: &DevArgs, access: &DatabaseAccess) -> anyhow::Result<Self> {
        match (&args.database_url, access) {
            (Some(url), _) => Ok(Self::given(
                read_files(url).context("--database-url")?,
                "the database of --database-url".to_owned(),
            )),
            (None, DatabaseAccess::Login(login)) => Ok(Self::given(
                login.clone(),
                "the database of the Secret in spec.database.secretRef".to_owned(),
            )),
            (None, DatabaseAccess::Absent { field, secret }) if *field == OWNER_FIELD => {
                Self::start(args.data_dir.clone(), secret).await
            }
            (None, DatabaseAccess::Absent { field, secret }) => {
                anyhow::bail!("{field}: the Secret {secret:?} is not among the files; add it")
            }
        }
    }

    fn given(owner: DatabaseLogin, choice: String) -> Self {
        let shown_url = without_password(owner.url.expose_str().unwrap_or_default());
        Self {
            owner,
            shown_url,
            choice,
            server: None,
        }
    }

    async fn start(data_dir: Option<PathBuf>, secret: &str) -> anyhow::Result<Self> {
        let kept = data_dir.is_some();
        let server = PrivatePostgres::start(Options {
            data_dir,
            ..Options::default()
        })
        .await?;
        let choice = format!(
            "a PostgreSQL of its own, since the Secret {secret:?} is not among the files ({})",
            if kept {
                "its data stays"
            } else {
                "its data goes with it"
            }
        );
        Ok(Self {
            owner: SecretBytes::new(server.url()).into(),
            shown_url: server.url(),
            choice,
            server: Some(server),
        })
    }

    /// The password of the ingest role: made from the owner's connection, so that the next run, or
    /// a second one beside this, comes to the same and changes nothing.
    pub(super) fn ingest_password(&self) -> SecretBytes {
        SecretBytes::new(sign(self.owner.url.expose(), b"trunkline ingest login"))
    }

    pub(super) async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // libpq's key=value form: nothing of it is safe to show.
        return "(as given)".to_owned();
    };
    let (authority, path) = rest
        .find('/')
        .map_or((rest, ""), |slash| rest.split_at(slash));
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        None => format!(
            "{scheme}://{authority}{}",
            path.split('?').next().unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_url_is_shown_without_its_password() {
        for (url, shown) in [
            (
                "postgres://u:hunter2@h:1/d?password=hunter2",
                "postgres://u@h:1/d",
            ),
            ("postgres://u:hunter2%40@h/d", "postgres://u@h/d"),
            ("postgres://h/d", "postgres://h/d"),
            ("host=h password=hunter2", "(as given)"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
