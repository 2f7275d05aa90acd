//! The real binary against a real engine, as a person uses them: command line, sockets, Docker.
//!
//! Here: one agent on an engine of the tests' own (`tests/setup/lab.sh` sets it up; without one these tests
//! fail, they do not skip). Not here: what one room promises (beside the code), an engine's contract
//! (`runtime::conformance`).
//! Invariant: one test at a time ([`lab::Lab::take`]); each begins and ends with an engine without
//! containers, and each wait has a deadline and tells what it saw last.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod docker;
mod http;
mod lab;
mod proxy;
mod traffic;
mod wait;
mod watcher;

mod access;
mod backup;
mod broken;
mod building;
mod causes;
mod container;
mod crash;
mod cutover;
mod data;
mod edge;
mod ending;
mod engine;
mod examples;
mod faults;
mod full;
mod hooks;
mod images;
mod install;
mod jobs;
mod life;
mod moved;
mod ports;
mod programs;
mod reading;
mod reasons;
mod repair;
mod restarts;
mod rollout;
mod secrets;
mod service;
mod walls;
