//! [`DbtProject`]: real dbt, from the environment that `tests/dbt/build` makes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What keeps dbt from telling anybody that it runs, and from asking what its newest version is.
pub const QUIET_DBT: [(&str, &str); 3] = [
    ("DO_NOT_TRACK", "1"),
    ("DBT_SEND_ANONYMOUS_USAGE_STATS", "false"),
    ("DBT_VERSION_CHECK", "false"),
];

/// The folder of `dbt`, and of a `python3` that has psycopg. None on a machine that did not reach PyPI
/// when it was to be made, which is said: what needs it is to be left out there.
///
/// # Panics
/// When `scripts/install dbt` has not tried to make it.
#[must_use]
#[allow(
    clippy::print_stderr,
    reason = "whoever runs the tests has to hear of it"
)]
pub fn python_programs() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dbt/build");
        let output = Command::new(script).arg("path").output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let folder = String::from_utf8(output.stdout).unwrap();
        let folder = Some(folder.trim()).filter(|folder| !folder.is_empty())?;
        Some(Path::new(folder).join("bin"))
    });
    if folder.is_none() {
        eprintln!("left out, since PyPI was not reached; scripts/install dbt tries again");
    }
    folder.as_deref()
}

/// A folder with a project.
#[derive(Debug)]
pub struct DbtProject {
    folder: PathBuf,
    password: String,
}

impl DbtProject {
    /// That in a folder. The password is that of its profile's role.
    #[must_use]
    pub fn at(folder: &Path, password: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            password: password.to_owned(),
        }
    }

    /// Runs `dbt` with these arguments and variables of the environment, and gives what it says.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(python_programs().expect("dbt").join("dbt"))
            .args(arguments)
            .current_dir(&self.folder)
            .envs(QUIET_DBT)
            .env("DBT_USE_COLORS", "false")
            .env("DBT_ENV_SECRET_PASSWORD", &self.password)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&stdout).into_owned();
        let errors = String::from_utf8_lossy(&stderr);
        assert!(
            status.success(),
            "dbt {}: {status}\n{said}\n{errors}",
            arguments.join(" ")
        );
        said
    }

    /// What dbt understood when it ran last.
    ///
    /// # Panics
    /// When it has not run.
    #[must_use]
    pub fn manifest(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.folder.join("target/manifest.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}
