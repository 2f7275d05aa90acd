//! Constellation.
pub mod model;
