//! The fenced blocks of the documentation, which tests run.

use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug, Clone)]
pub struct Example {
    /// File and line, for messages.
    pub place: String,
    /// The words after the fence.
    pub info: Vec<String>,
    /// The lines between the fences.
    pub text: String,
}

impl Example {
    /// Every fenced block of a page, whose path is relative to the repository.
    ///
    /// # Panics
    /// When there is no such page.
    #[must_use]
    pub fn of_page(page: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(repository().join(page)).unwrap();
        let mut found = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(info) = line.trim_start().strip_prefix("```") else {
                continue;
            };
            let indent = line.len() - line.trim_start().len();
            let block = lines
                .by_ref()
                .map(|(_, line)| line.get(indent..).unwrap_or_default())
                .take_while(|line| !line.starts_with("```"));
            found.push(Self {
                place: format!("{}:{}", page.display(), number + 1),
                info: info.split_whitespace().map(str::to_owned).collect(),
                text: block.map(|line| format!("{line}\n")).collect(),
            });
        }
        found
    }
}

/// The folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
