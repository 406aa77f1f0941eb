//! What is known before the sources are looked at one by one: where, and what is there. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;
use trunkline_model::names::ClusterName;

use crate::catalog::{self, Marks, ReaderRow};
use crate::claim::{self, Claim, Holdings};
use crate::error::Error;
use crate::own_views::{MadeViews, made_views};
use crate::partitions::Occasion;
use crate::relations::{self, Relations};
use crate::roles::{Role, Roles};
use crate::source_error::SourceError;
use crate::sources::DesiredSource;

/// Where sources are to be provided, and by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) cluster: &'a ClusterName,
    pub(crate) database: &'a str,
    pub(crate) roles: &'a Roles,
    pub(crate) occasion: Occasion,
}

impl Place<'_> {
    /// The group that gives a source's readers their rights, where we make roles.
    pub(crate) fn reader_group(&self, source: &DesiredSource) -> Option<Role> {
        (*self.roles == Roles::Managed).then(|| Role::reader(self.database, source.schema.as_str()))
    }

    /// The group that such groups are members of.
    pub(crate) fn readers(&self) -> Option<Role> {
        (*self.roles == Roles::Managed).then(|| Role::readers(self.database))
    }
}

/// What the database says about the sources, before anything is changed.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) holdings: Holdings,
    schemas: Marks,
    /// The groups and listed readers that exist.
    pub(crate) roles: Marks,
    /// The rights to read that we gave, by the number of the source.
    pub(crate) given: BTreeMap<i32, Vec<ReaderRow>>,
    /// What is known of the analysts' relations.
    pub(crate) relations: Relations,
    /// The views of sources' own that we made.
    pub(crate) own_views: MadeViews,
}

impl Found {
    pub(crate) async fn read(
        client: &Client,
        place: Place<'_>,
        desired: &[DesiredSource],
    ) -> Result<Self, Error> {
        let schemas: Vec<_> = desired
            .iter()
            .map(|source| source.schema.as_str())
            .collect();
        let groups: Vec<_> = desired
            .iter()
            .filter_map(|source| place.reader_group(source))
            .chain(place.readers())
            .collect();
        let mut roles: BTreeSet<_> = groups.iter().map(|group| group.name.as_str()).collect();
        roles.extend(
            desired
                .iter()
                .flat_map(|source| &source.readers)
                .map(String::as_str),
        );
        let roles: Vec<_> = roles.into_iter().collect();
        let (rows, shared, schemas, roles, readers, relations, own_views) = tokio::try_join!(
            biased;
            catalog::sources(client),
            catalog::shared_buckets(client),
            catalog::schema_marks(client, &schemas),
            catalog::role_marks(client, &roles),
            catalog::readers(client),
            relations::read(client, None),
            made_views(client),
        )?;
        let mut given: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for reader in readers {
            given.entry(reader.number).or_default().push(reader);
        }
        Ok(Self {
            holdings: Holdings::new(rows, shared),
            schemas,
            roles,
            given,
            relations,
            own_views,
        })
    }

    /// Decides about one source, by what the catalog holds.
    pub(crate) fn judge(
        &self,
        place: Place<'_>,
        source: &DesiredSource,
        holdings: &Holdings,
    ) -> Result<Claim, SourceError> {
        let mark = self.schemas.get(source.schema.as_str());
        let claim = claim::judge(source, place.cluster, holdings, mark)?;
        for group in place
            .reader_group(source)
            .into_iter()
            .chain(place.readers())
        {
            group.refuse_foreign(&self.roles)?;
        }
        Ok(claim)
    }
}
