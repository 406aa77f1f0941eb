//! What is wrong with a manifest, said so that its author can mend it.

use std::fmt;

/// One thing to mend: which object, which field, what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, when the object came from one.
    pub file: Option<String>,
    /// Kind and name: `WebhookSource default/segment`.
    pub object: String,
    /// Path of the field: `spec.verification.secrets[0].secretKeyRef.key`.
    pub field: String,
    /// What is wrong, and how to mend it. Never holds the value of a secret.
    pub message: String,
}

impl Problem {
    /// What a condition of the object itself says: file and object are known there.
    #[must_use]
    pub fn field_and_message(&self) -> String {
        if self.field.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.field, self.message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, so that one run tells all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Collects the problems of one object.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    file: Option<&'a str>,
    object: String,
    problems: Vec<Problem>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(file: Option<&'a str>, object: String) -> Self {
        Self {
            file,
            object,
            problems: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.map(str::to_owned),
            object: self.object.clone(),
            field: field.into(),
            message: message.into(),
        });
    }

    /// The value, when nothing was wrong with the object.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Problems(self.problems)),
        }
    }
}
