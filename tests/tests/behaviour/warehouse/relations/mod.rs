//! The relations for analysts: made of shapes that are noted here as ingesters do.

mod command;
mod growth;
mod harness;
mod layouts;
mod materialized;
mod rights;
mod shaping;
mod values;
