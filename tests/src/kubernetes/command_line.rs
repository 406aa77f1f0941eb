//! [`CommandLine`]: `kubectl`, `helm` and our own command line, as a person would run them.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A program with a kubeconfig. It reads and writes nothing of the user's who runs the tests.
#[derive(Debug, Clone)]
pub struct CommandLine {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl CommandLine {
    /// A program that acts as the user of `kubeconfig` and keeps its caches in `home`.
    pub(crate) fn new(program: &Path, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
        }
    }

    /// The same as somebody else.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self::new(&self.program, kubeconfig, &self.home)
    }

    /// Another program as the same user.
    #[must_use]
    pub fn with_program(&self, program: &Path) -> Self {
        Self::new(program, &self.kubeconfig, &self.home)
    }

    /// The command, to be run in some other way.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// What came of it, whether it succeeded or not.
    pub async fn output(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().await;
        output.unwrap_or_else(|error| panic!("{}: {error}", self.program.display()))
    }

    /// What it printed.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub async fn run(&self, arguments: &[&str]) -> String {
        self.printed(arguments, self.output(arguments).await)
    }

    /// What it printed, given `input`.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output_with_input(arguments, input).await;
        self.printed(arguments, output)
    }

    /// What came of it, given `input`.
    pub async fn output_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // One that ends without reading it all says why by itself.
        let _ = pipe.write_all(input.as_bytes()).await;
        drop(pipe);
        child.wait_with_output().await.unwrap()
    }

    /// `apply -f -` of one or more manifests.
    ///
    /// # Panics
    /// When they are refused.
    pub async fn apply(&self, manifests: &str) -> String {
        self.run_with_input(&["apply", "-f", "-"], manifests).await
    }

    fn printed(&self, arguments: &[&str], output: Output) -> String {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (printed, said) = (text(output.stdout), text(output.stderr));
        assert!(
            output.status.success(),
            "{} {}: {}\n{said}{printed}",
            self.program.file_name().unwrap().display(),
            arguments.join(" "),
            output.status
        );
        printed
    }
}
