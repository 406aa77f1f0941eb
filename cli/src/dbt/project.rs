//! The files of a project. Pure.

use trunkline_pgconn::{SslMode, Target};

use super::relations::{Source, has_models};
use super::sources::sources_yml;
use super::text::{from_environment, quoted};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProjectFile {
    /// Within the project's folder.
    pub(super) path: &'static str,
    pub(super) text: String,
}

impl ProjectFile {
    fn new(path: &'static str, text: impl Into<String>) -> Self {
        Self {
            path,
            text: text.into(),
        }
    }
}

macro_rules! templates {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("templates/", $path)))),*]
    };
}

/// What is the same in every project that has models.
const MODELS: [(&str, &str); 7] = templates![
    "macros/page_views.sql",
    "macros/since.sql",
    "models/identities.sql",
    "models/schema.yml",
    "models/sessions.sql",
    "tests/one_identity_for_each_visitor.sql",
    "tests/sessions_are_apart.sql",
];

/// Schemas to build in unless `DBT_SCHEMA` says another, the first that is no source's.
const SCHEMAS: [&str; 2] = ["analytics", "dbt_models"];

/// Where dbt connects to, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    /// One or several with commas between them.
    host: String,
    port: u16,
    user: String,
    database: String,
    ssl_mode: SslMode,
    has_authorities: bool,
    has_client_certificate: bool,
}

impl Connection {
    /// The same place as the target's. dbt knows one port for all hosts: that of the first.
    pub(super) fn of(target: &Target) -> Self {
        let places = target.endpoints().iter();
        let (hosts, ports): (Vec<_>, Vec<_>) = places.map(|it| it.host_and_port()).unzip();
        let certificates = &target.login().certificates;
        Self {
            host: hosts.join(","),
            port: ports.first().copied().unwrap_or_default(),
            user: target.user().to_owned(),
            database: target.database().to_owned(),
            ssl_mode: target.ssl_mode(),
            has_authorities: certificates.authorities.is_some(),
            has_client_certificate: certificates.client.is_some(),
        }
    }
}

/// All of them, in the order of their paths.
pub(super) fn files(sources: &[Source], connection: &Connection) -> Vec<ProjectFile> {
    let mut files = vec![
        ProjectFile::new(".gitignore", "/dbt_packages/\n/logs/\n/target/\n"),
        ProjectFile::new("dbt_project.yml", dbt_project_yml(sources)),
        ProjectFile::new("profiles.yml", profiles_yml(sources, connection)),
        sources_file(sources),
    ];
    if has_models(sources) {
        files.extend(MODELS.map(|(path, text)| ProjectFile::new(path, text)));
    }
    files.sort_by_key(|file| file.path);
    files
}

/// `models/sources.yml`.
pub(super) fn sources_file(sources: &[Source]) -> ProjectFile {
    ProjectFile::new("models/sources.yml", sources_yml(sources))
}

fn dbt_project_yml(sources: &[Source]) -> String {
    let mut yaml = "\
# Written by `trunkline dbt init`; yours from now on.
name: trunkline
config-version: 2
profile: trunkline
require-dbt-version: \">=1.8.0\"

# dbt tells its makers how it is used unless told otherwise.
flags:
  send_anonymous_usage_stats: false

vars:
  # The rows that tests and freshness of sources look at. More costs more.
  recent: 1 day
"
    .to_owned();
    if has_models(sources) {
        let schemas = sources.iter().filter(|source| source.has_models());
        let schemas: Vec<_> = schemas
            .map(|source| quoted(source.schema.as_str()))
            .collect();
        yaml.push_str(&format!(
            "  # The sources that models are made of, by schema. They have spec.warehouse.layout.\n  \
             schemas: [{}]\n  \
             # A longer pause between two page views ends a session.\n  \
             session_gap: 1800 seconds\n  \
             # How far before the newest row that they know incremental models read again, for rows that\n  \
             # were committed later than others of the same time.\n  \
             look_back: 3 hours\n",
            schemas.join(", ")
        ));
    }
    yaml
}

fn profiles_yml(sources: &[Source], connection: &Connection) -> String {
    let is_taken = |name: &&str| sources.iter().any(|source| source.schema.as_str() == *name);
    let schema = SCHEMAS.into_iter().find(|name| !is_taken(name));
    let mut yaml = format!(
        "# Written by `trunkline dbt init`; yours from now on. dbt reads it in the folder that it runs in.\n\
         #\n\
         # The password is in the environment alone. dbt shows no variable of this prefix in its log.\n\
         trunkline:\n  \
         target: default\n  \
         outputs:\n    \
         default:\n      \
         type: postgres\n      \
         host: {host}\n      \
         port: {port}\n      \
         user: {user}\n      \
         password: {password}\n      \
         dbname: {database}\n      \
         # Where models are made. The role needs the right to create in it.\n      \
         schema: {schema}\n      \
         threads: 2\n      \
         sslmode: {ssl_mode}\n",
        host = from_environment("DBT_HOST", &connection.host),
        port = quoted(&format!(
            "{{{{ env_var('DBT_PORT', '{}') | as_number }}}}",
            connection.port
        )),
        user = from_environment("DBT_USER", &connection.user),
        password = quoted("{{ env_var('DBT_ENV_SECRET_PASSWORD') }}"),
        database = from_environment("DBT_DATABASE", &connection.database),
        schema = from_environment("DBT_SCHEMA", schema.unwrap_or(SCHEMAS[0])),
        ssl_mode = connection.ssl_mode.as_str(),
    );
    let verifies = [SslMode::VerifyCa, SslMode::VerifyFull].contains(&connection.ssl_mode);
    if connection.has_authorities {
        yaml.push_str("      sslrootcert: \"{{ env_var('PGSSLROOTCERT') }}\"\n");
    } else if verifies {
        // libpq knows no public authorities unless told so.
        yaml.push_str("      sslrootcert: system\n");
    }
    if connection.has_client_certificate {
        yaml.push_str(
            "      sslcert: \"{{ env_var('PGSSLCERT') }}\"\n      \
             sslkey: \"{{ env_var('PGSSLKEY') }}\"\n",
        );
    }
    yaml
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use trunkline_model::database::DatabaseLogin;
    use trunkline_model::secret::SecretBytes;

    use super::super::relations::tests::{of_layout, relation, source};
    use super::*;

    fn connection(url: &str) -> Connection {
        let login: DatabaseLogin = SecretBytes::new(url).into();
        Connection::of(&Target::parse(login).unwrap())
    }

    fn yaml(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn profile(url: &str, schema: &str) -> Value {
        let sources = [source(schema, vec![of_layout("pages", &[])])];
        let text = profiles_yml(&sources, &connection(url));
        assert!(!text.contains("hunter2"), "{text}");
        yaml(&text)["trunkline"]["outputs"]["default"].clone()
    }

    #[test]
    fn the_profile_leads_to_the_same_place_without_a_password() {
        let found = profile(
            "postgres://o%27brien:hunter2@db.example.com:6432/app?sslmode=require",
            "shop",
        );
        for (key, value) in [
            ("host", "{{ env_var('DBT_HOST', 'db.example.com') }}"),
            ("port", "{{ env_var('DBT_PORT', '6432') | as_number }}"),
            ("user", "{{ env_var('DBT_USER', 'o\\'brien') }}"),
            ("password", "{{ env_var('DBT_ENV_SECRET_PASSWORD') }}"),
            ("dbname", "{{ env_var('DBT_DATABASE', 'app') }}"),
            ("schema", "{{ env_var('DBT_SCHEMA', 'analytics') }}"),
            ("sslmode", "require"),
        ] {
            assert_eq!(found[key], value);
        }
        assert_eq!(found["sslrootcert"], Value::Null);
    }

    #[test]
    fn the_profile_verifies_as_the_url_does_and_knows_several_hosts_and_sockets() {
        let found = profile("postgres://a:hunter2@one,two/app?sslmode=verify-full", "a");
        assert_eq!(found["sslrootcert"], "system");
        assert_eq!(found["host"], "{{ env_var('DBT_HOST', 'one,two') }}");
        let found = profile("postgres://a@%2Frun%2Fpostgresql/app", "a");
        assert_eq!(
            found["host"],
            "{{ env_var('DBT_HOST', '/run/postgresql') }}"
        );
    }

    #[test]
    fn models_are_not_made_in_the_schema_of_a_source() {
        let found = profile("postgres://a@h/app", "analytics");
        assert_eq!(found["schema"], "{{ env_var('DBT_SCHEMA', 'dbt_models') }}");
    }

    #[test]
    fn models_are_of_the_sources_with_a_layout() {
        let connection = connection("postgres://a@h/app");
        let sources = [
            source("github", vec![relation("events", &["received_at"])]),
            source("shop", vec![of_layout("pages", &[])]),
        ];
        let paths = |files: &[ProjectFile]| -> Vec<_> { files.iter().map(|it| it.path).collect() };
        let all = files(&sources, &connection);
        assert!(paths(&all).contains(&"models/sessions.sql"));
        let project = yaml(&dbt_project_yml(&sources));
        assert_eq!(project["vars"]["schemas"], serde_json::json!(["shop"]));
        assert_eq!(
            paths(&files(&sources[..1], &connection)),
            [
                ".gitignore",
                "dbt_project.yml",
                "models/sources.yml",
                "profiles.yml"
            ]
        );
    }
}
