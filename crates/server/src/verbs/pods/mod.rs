//! What only pods can be asked for.

pub(crate) mod binding;
mod budget;
pub(crate) mod eviction;
