//! Tables of cases after Kubernetes' own, and properties over random clusters.

mod accept;
mod ahead;
mod classes;
mod failures;
mod fixture;
mod fleet;
mod forecast;
mod history;
mod manage;
mod placement;
mod policy;
mod properties;
mod rollout;
mod shadow;
mod status;
mod surge;
mod targets;
mod trials;
mod updates;
mod verdict;
mod wakes;
mod waves;
mod windows;
