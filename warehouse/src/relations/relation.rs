//! One relation and its columns: what it shows of what was sent, and how its columns are called. Pure.
//!
//! Invariants:
//! - Columns are only ever added, behind those that there are.
//! - No two columns have one name, whatever was sent and whatever is wished.

use trunkline_model::naming::{Naming, Prefix};

use super::casts::ColumnType;
use super::expected::expected;
use super::overrides::Wish;
use super::shape::Kind;
use super::shaping::Rules;
use super::subject::Subject;

/// Columns that a relation has at most beside those that are always there. PostgreSQL allows 1,600 in
/// all, and replaces a view of that many slowly.
pub(super) const MAX_COLUMNS: usize = 400;

/// Paths that share one column at most: the spellings of one property.
const MAX_PATHS: usize = 8;

/// The key of an event that columns with a prefix are made of.
pub(super) const CONTEXT: &str = "context";

/// One relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) subject: Subject,
    /// The columns that were made of what was sent, in their order.
    pub(crate) columns: Vec<Column>,
}

/// A column that was made of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// As the layout's rules call it.
    pub(crate) name: String,
    /// As the first value decided.
    pub(crate) sql_type: ColumnType,
    /// Where it is in the event. Of several the first that has a value that fits.
    pub(crate) paths: Vec<Vec<String>>,
    /// Whether something was sent that may not fit its type.
    pub(crate) has_misfits: bool,
    /// What it is called in place of that, as the source's owner wishes.
    pub(crate) other_name: Option<String>,
    /// Its type in place of that.
    pub(crate) other_type: Option<ColumnType>,
}

impl Column {
    /// One that shows what is at `path`, as the layout's rules have it.
    pub(super) fn new(name: String, sql_type: ColumnType, path: Vec<String>) -> Self {
        Self {
            name,
            sql_type,
            paths: vec![path],
            has_misfits: false,
            other_name: None,
            other_type: None,
        }
    }

    /// Its name in the view.
    pub(crate) fn shown_name(&self) -> &str {
        self.other_name.as_ref().unwrap_or(&self.name)
    }

    /// Its type in the view.
    pub(crate) fn shown_type(&self) -> ColumnType {
        self.other_type.unwrap_or(self.sql_type)
    }

    /// Whether it is of the context.
    pub(crate) fn is_of_context(&self) -> bool {
        let first = self.paths.first().and_then(|path| path.first());
        first.is_some_and(|root| root == CONTEXT)
    }
}

/// Something that was sent and that no relation shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeftOut {
    /// The relation that is not there, or that lacks the column.
    pub(crate) relation: String,
    pub(crate) column: Option<String>,
    pub(crate) because: Because,
    /// What was sent and where.
    pub(crate) detail: String,
}

/// What keeps something out of the relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Because {
    /// There is no room for it.
    Full,
    /// The source is pinned.
    Pinned,
}

impl Because {
    /// How the catalog calls it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "overflow",
            Self::Pinned => "held",
        }
    }
}

/// What the owner of a source wishes of a column and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Blocked {
    pub(crate) relation: String,
    /// Its name in the view.
    pub(crate) column: String,
    /// What is wished and what is in its way, as the continuation of the column's name.
    pub(crate) detail: String,
    /// What has to go before it can be had.
    pub(crate) objects: Option<String>,
}

impl Relation {
    /// With the columns that are expected of the one of that name.
    pub(super) fn new(name: &str, subject: Subject, rules: Rules<'_>) -> Self {
        let mut relation = Self {
            subject,
            columns: Vec::new(),
        };
        for path in expected(subject.call()) {
            let path: Vec<_> = path.iter().map(|key| (*key).to_owned()).collect();
            if path.first().is_some_and(|root| relation.takes(root))
                && let Some(column) = relation.column_name(rules.naming, &path)
            {
                let column = Column::new(column, ColumnType::Text, path);
                relation.add(name, column, rules);
            }
        }
        relation
            .columns
            .sort_by(|one, other| one.name.cmp(&other.name));
        relation
    }

    pub(super) fn takes(&self, root: &str) -> bool {
        root == CONTEXT || self.subject.container() == Some(root)
    }

    fn column_name(&self, naming: Naming, path: &[String]) -> Option<String> {
        let (root, keys) = path.split_first()?;
        let prefix = if root == CONTEXT {
            Prefix::Context
        } else {
            Prefix::None
        };
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        naming.column_of(self.subject.call(), prefix, &keys)
    }

    /// Takes up that a value of that kind was seen at `path`, in the relation of that name. What it does
    /// not show of it.
    pub(super) fn note(
        &mut self,
        rules: Rules<'_>,
        relation: &str,
        path: &[String],
        kind: Kind,
    ) -> Option<LeftOut> {
        self.note_misfits_above(path);
        let sql_type = ColumnType::of(kind, rules.naming)?;
        let name = self.column_name(rules.naming, path)?;
        let left_out = |because, detail| {
            Some(LeftOut {
                relation: relation.to_owned(),
                column: Some(name.clone()),
                because,
                detail,
            })
        };
        let held = || {
            let detail = format!("{} of {}", sql_type.as_str(), as_json(path));
            left_out(Because::Pinned, detail)
        };
        let full = |why: &str| left_out(Because::Full, format!("{}: {why}", as_json(path)));
        if let Some(column) = self.columns.iter_mut().find(|column| column.name == name) {
            let is_shown = column.paths.iter().any(|known| known == path);
            if !is_shown && column.paths.len() < MAX_PATHS {
                if rules.is_pinned {
                    return held();
                }
                column.paths.push(path.to_vec());
            }
            column.has_misfits |= !column.sql_type.fits(kind);
            return None;
        }
        if rules.is_pinned {
            return held();
        }
        if self.columns.len() >= MAX_COLUMNS {
            return full(&format!(
                "the relation has {MAX_COLUMNS} columns of what was sent"
            ));
        }
        let is_object_elsewhere = self
            .columns
            .iter()
            .flat_map(|column| &column.paths)
            .any(|known| known.len() > path.len() && known.starts_with(path));
        let column = Column {
            has_misfits: sql_type.is_strict() && is_object_elsewhere,
            ..Column::new(name.clone(), sql_type, path.to_vec())
        };
        if self.add(relation, column, rules) {
            None
        } else {
            full("spec.warehouse.overrides calls another column so")
        }
    }

    /// Adds a column that is new, as the rules call it; or not, when another is called so.
    fn add(&mut self, relation: &str, column: Column, rules: Rules<'_>) -> bool {
        let is_free = |name: &str| {
            !self.columns.iter().any(|it| it.shown_name() == name)
                && !self.is_fixed(name, rules.naming)
        };
        let wish = rules.overrides.of(relation, &column.name);
        let other_name = wish
            .and_then(|wish| wish.name.clone())
            .filter(|name| is_free(name));
        if other_name.is_none() && !is_free(&column.name) {
            return false;
        }
        let other_type = wish
            .and_then(|wish| wish.sql_type)
            .filter(|wished| *wished != column.sql_type);
        self.columns.push(Column {
            other_name,
            other_type,
            ..column
        });
        true
    }

    /// Takes over a column of another relation that has one of that name here too.
    pub(super) fn adopt(&mut self, relation: &str, column: &Column, rules: Rules<'_>) {
        match self.columns.iter_mut().find(|it| it.name == column.name) {
            Some(known) => {
                known.sql_type = column.sql_type;
                known.paths.clone_from(&column.paths);
                known.has_misfits = column.has_misfits;
            }
            None => {
                self.add(relation, column.clone(), rules);
            }
        }
    }

    /// Whether every relation of its subject has a column of that name.
    fn is_fixed(&self, name: &str, naming: Naming) -> bool {
        self.subject.has_fixed(naming, name)
    }

    /// What has something below it is an object, which fits no column of a single value.
    fn note_misfits_above(&mut self, path: &[String]) {
        for column in self.columns.iter_mut().filter(|it| it.sql_type.is_strict()) {
            column.has_misfits |= column
                .paths
                .iter()
                .any(|known| known.len() < path.len() && path.starts_with(known));
        }
    }

    /// Brings the columns to the names and types that the rules give them. While `dependants` are built
    /// on the relation, the types stay, since no view's type can change under another's. What cannot be
    /// had.
    pub(super) fn reshape(
        &mut self,
        relation: &str,
        dependants: Option<&str>,
        rules: Rules<'_>,
    ) -> Vec<Blocked> {
        let wishes: Vec<_> = self
            .columns
            .iter()
            .map(|column| rules.overrides.of(relation, &column.name))
            .collect();
        let names = self.names(&wishes, rules.naming);
        let mut blocked = Vec::new();
        for ((column, wish), name) in self.columns.iter_mut().zip(wishes).zip(names) {
            let blocked_by = |detail, objects| Blocked {
                relation: relation.to_owned(),
                column: name.clone(),
                detail,
                objects,
            };
            let wished = wish.and_then(|wish| wish.name.as_ref());
            if let Some(wished) = wished.filter(|wished| **wished != name) {
                let detail = format!("cannot be called {wished}, as another column is");
                blocked.push(blocked_by(detail, None));
            }
            let was = column.shown_type();
            let to = wish.and_then(|wish| wish.sql_type);
            let to = to.unwrap_or(column.sql_type);
            match dependants.filter(|_| to != was) {
                Some(objects) => {
                    let detail = format!(
                        "stays {} and does not become {} while others have built on the relation: \
                         {objects}",
                        was.as_str(),
                        to.as_str()
                    );
                    blocked.push(blocked_by(detail, Some(objects.to_owned())));
                }
                None => column.other_type = Some(to).filter(|to| *to != column.sql_type),
            }
            column.other_name = Some(name).filter(|name| *name != column.name);
        }
        blocked
    }

    /// The name of each column: the one that is wished where no other has it, else its own.
    fn names(&self, wishes: &[Option<&Wish>], naming: Naming) -> Vec<String> {
        let mut names: Vec<_> = self
            .columns
            .iter()
            .zip(wishes)
            .map(|(column, wish)| {
                let wished = wish.and_then(|wish| wish.name.as_ref());
                wished.unwrap_or(&column.name)
            })
            .collect();
        // Who goes back to a name of its own may be in the way of another.
        loop {
            let taken = (0..names.len()).find(|&place| {
                let name = names[place];
                *name != self.columns[place].name
                    && (self.is_fixed(name, naming)
                        || names.iter().filter(|other| **other == name).count() > 1)
            });
            let Some(place) = taken else { break };
            names[place] = &self.columns[place].name;
        }
        names.into_iter().cloned().collect()
    }
}

/// Keys as a JSON array: the same only for the same keys, whatever is in them.
pub(super) fn as_json<S: AsRef<str>>(keys: &[S]) -> String {
    let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
    serde_json::Value::from(keys).to_string()
}
