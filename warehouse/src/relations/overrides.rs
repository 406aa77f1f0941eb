//! Names and types that a source's owner gives to columns in place of those that the layout and the first
//! value gave them. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::casts::ColumnType;

/// How a column is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnOverride {
    /// The relation.
    pub relation: String,
    /// The column, as the layout's rules call it, be it there or not.
    pub column: String,
    /// Its type. None: as the first value decided.
    pub sql_type: Option<ColumnType>,
    /// Its name. None: that of the layout's rules.
    pub name: Option<String>,
}

/// What is wished of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) sql_type: Option<ColumnType>,
    pub(crate) name: Option<String>,
}

/// What is wished of the columns of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// By relation and column.
    wishes: BTreeMap<String, BTreeMap<String, Wish>>,
}

impl Overrides {
    /// Those of a list. Of two for one column the last counts.
    pub(crate) fn new(list: &[ColumnOverride]) -> Self {
        let mut wishes: BTreeMap<String, BTreeMap<String, Wish>> = BTreeMap::new();
        for it in list {
            let wish = Wish {
                sql_type: it.sql_type,
                name: it.name.clone(),
            };
            wishes
                .entry(it.relation.clone())
                .or_default()
                .insert(it.column.clone(), wish);
        }
        Self { wishes }
    }

    /// What is wished of that column.
    pub(crate) fn of(&self, relation: &str, column: &str) -> Option<&Wish> {
        self.wishes.get(relation)?.get(column)
    }

    /// As the catalog keeps it: a JSON array.
    pub(crate) fn to_catalog(&self) -> String {
        let entries = self.wishes.iter().flat_map(|(relation, columns)| {
            columns.iter().map(move |(column, wish)| {
                json!({
                    "relation": relation,
                    "column": column,
                    "type": wish.sql_type.map(ColumnType::as_str),
                    "name": wish.name,
                })
            })
        });
        Value::Array(entries.collect()).to_string()
    }

    /// As the catalog has it. What a newer program wrote and this one does not know is left out.
    pub(crate) fn from_catalog(text: &str) -> Self {
        let entries: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
        let list: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                Some(ColumnOverride {
                    relation: entry["relation"].as_str()?.to_owned(),
                    column: entry["column"].as_str()?.to_owned(),
                    sql_type: entry["type"].as_str().and_then(ColumnType::from_catalog),
                    name: entry["name"].as_str().map(str::to_owned),
                })
            })
            .collect();
        Self::new(&list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_gives_back_what_it_was_given_whatever_the_order() {
        let price = ColumnOverride {
            relation: "product_viewed".to_owned(),
            column: "price".to_owned(),
            sql_type: Some(ColumnType::Numeric),
            name: None,
        };
        let sku = ColumnOverride {
            column: "sku".to_owned(),
            sql_type: None,
            name: Some("article".to_owned()),
            ..price.clone()
        };
        let overrides = Overrides::new(&[sku.clone(), price.clone()]);
        assert_eq!(overrides, Overrides::new(&[price, sku]));
        assert_eq!(
            overrides.to_catalog(),
            "[{\"column\":\"price\",\"name\":null,\"relation\":\"product_viewed\",\
             \"type\":\"numeric\"},{\"column\":\"sku\",\"name\":\"article\",\
             \"relation\":\"product_viewed\",\"type\":null}]"
        );
        assert_eq!(Overrides::from_catalog(&overrides.to_catalog()), overrides);
        assert_eq!(Overrides::from_catalog("nonsense"), Overrides::default());
        assert_eq!(Overrides::default().to_catalog(), "[]");
    }
}
