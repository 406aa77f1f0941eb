//! The Helm chart, as Helm renders it. No cluster is needed; that the operator gets by with these
//! rights, and that Pod Security admits it, is tested where there is one.

mod helm;
mod objects;
mod rights;
mod values;
