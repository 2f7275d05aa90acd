//! Constellation.
