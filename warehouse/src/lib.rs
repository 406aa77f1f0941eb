//! What lives in PostgreSQL: tables, partitions, views, roles and the catalog.
