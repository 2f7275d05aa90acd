//! Constellation.
pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod controller;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod runtime;
pub mod store;
