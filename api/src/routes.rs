//! The routes.

pub(crate) mod breakdown;
pub(crate) mod meta;
mod periods;
pub(crate) mod series;
pub(crate) mod summary;
pub(crate) mod table;
