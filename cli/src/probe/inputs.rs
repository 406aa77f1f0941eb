//! Where to post, with which secret, and where the rows are: from files or from a Kubernetes
//! cluster, by the operator's own validation either way.

use std::collections::BTreeSet;

use anyhow::Context;
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_model::database::DatabaseLogin;
use trunkline_model::request::{BodyFormat, RequestMethod};
use trunkline_operator::build::limits;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::{DatabaseAccess, Source, Validated, validate};
use trunkline_pgconn::read_files;

use super::args::ProbeArgs;
use super::run::{Options, RowsAt};
use crate::app::{served_source, signable};
use crate::dev;
use crate::files;
use crate::kubernetes::{get, located, secret_data};
use crate::send::Target;

/// Finds out everything that the command line leaves open.
pub(super) async fn options(args: &ProbeArgs) -> anyhow::Result<Options> {
    let (validated, url) = if args.files.is_empty() {
        from_cluster(args).await?
    } else {
        let files = files::read(&args.files)?;
        let validated = validate(&Manifests::parse(files::as_texts(&files))?)?;
        let path = &served_source(&validated, &args.source)?.path;
        let url = format!("http://{}{path}", dev::DEFAULT_LISTEN);
        (validated, Some(url))
    };
    let source = served_source(&validated, &args.source)?;
    if let Some(why) = unsuitable(source) {
        anyhow::bail!("WebhookSource {} {why}", args.source);
    }
    let url = args.url.clone().or(url).with_context(|| {
        format!(
            "WebhookSource {} has no URL, since it has not been ready yet; trunkline status -n {} {} \
             says why",
            args.source,
            args.source.namespace(),
            args.source.name()
        )
    })?;
    let rows = if args.no_rows {
        None
    } else {
        Some(RowsAt {
            login: database_login(args, &validated)?,
            relation: source.schema.events(),
        })
    };
    let mut target = Target::parse_trusting(&url, args.cacert.as_deref()).context("--url")?;
    if let Some(address) = &args.connect_to {
        target = target.connecting_to(address).context("--connect-to")?;
    }
    Ok(Options {
        target,
        verification: signable(source)?,
        splits_arrays: source.split_arrays,
        first_request: args
            .first_request
            .unwrap_or_else(|| limits(&validated.cluster).max_body_bytes),
        duration: args.duration,
        rate: args.rate,
        concurrency: args.concurrency,
        new_connections: args.new_connections,
        rows,
        seed: rand::random(),
    })
}

/// Why Segment's events cannot be followed to this source's rows.
fn unsuitable(source: &Source) -> Option<&'static str> {
    if source.body != BodyFormat::Json {
        return Some(
            "takes no JSON (spec.body.format), and probe sends Segment's events; name another",
        );
    }
    let takes_post = source.http.takes(RequestMethod::Post.as_str());
    (!takes_post).then_some("does not take POST (spec.methods), and probe posts; name another")
}

fn database_login(args: &ProbeArgs, validated: &Validated) -> anyhow::Result<DatabaseLogin> {
    match (&args.database_url, &validated.cluster.database) {
        (Some(url), _) => read_files(url).context("--database-url"),
        (None, DatabaseAccess::Login(login)) => Ok(login.clone()),
        (None, DatabaseAccess::Absent { secret, .. }) => anyhow::bail!(
            "the Secret {secret:?} of the database is not there; give --database-url, or --no-rows \
             to look for no rows"
        ),
    }
}

/// Reads the source, its cluster and their Secrets. Whoever may not read a Secret hears which.
async fn from_cluster(args: &ProbeArgs) -> anyhow::Result<(Validated, Option<String>)> {
    let client = args.kubernetes.client().await?;
    let name = &args.source;
    let namespace = name.namespace();
    let source: WebhookSource = get(&client, namespace, name.name()).await?;
    let cluster: WebhookCluster = get(&client, namespace, &source.spec.cluster_ref.name).await?;
    let url = source.status.as_ref().and_then(|status| status.url.clone());

    let mut secrets: BTreeSet<&str> = source.spec.secret_names().collect();
    if args.database_url.is_none() && !args.no_rows {
        let database = &cluster.spec.database;
        secrets.insert(&database.secret_ref.name);
        secrets.extend(
            database
                .ca_secret_ref
                .iter()
                .map(|secret| secret.name.as_str()),
        );
    }
    let mut manifests = Manifests::default();
    for secret in secrets {
        let data = secret_data(&client, namespace, secret).await.with_context(|| {
            format!(
                "Secret {namespace}/{secret} cannot be read; give the source and its Secrets with \
                 -f, and the database with --database-url"
            )
        })?;
        if let Some(data) = data {
            manifests
                .secrets
                .insert((namespace.to_owned(), secret.to_owned()), data);
        }
    }
    manifests.clusters.push(located(cluster));
    manifests.sources.push(located(source));
    Ok((validate(&manifests)?, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(spec: &str) -> Option<&'static str> {
        let text = format!(
            "apiVersion: trunkline.dev/v1alpha1\nkind: WebhookCluster\nmetadata: {{name: main}}\n\
             spec: {{size: small, database: {{secretRef: {{name: warehouse}}}}}}\n---\n\
             apiVersion: trunkline.dev/v1alpha1\nkind: WebhookSource\nmetadata: {{name: a}}\n\
             spec: {{clusterRef: {{name: main}}, verification: {{none: {{}}}}, {spec}}}\n"
        );
        let manifests = Manifests::parse([("a.yaml", text.as_str())]).unwrap();
        let validated = validate(&manifests).unwrap();
        unsuitable(validated.valid().next().unwrap())
    }

    #[test]
    fn a_source_that_takes_no_events_of_segments_is_refused_with_the_field() {
        assert_eq!(verdict("methods: [PUT, POST]"), None);
        assert_eq!(verdict("body: {format: JsonArray}"), None);
        for format in ["Text", "Bytes", "Form"] {
            let why = verdict(&format!("body: {{format: {format}}}")).unwrap();
            assert!(why.contains("spec.body.format"), "{why}");
        }
        assert!(verdict("methods: [PUT]").unwrap().contains("spec.methods"));
    }
}
