//! One binary for all integration tests: one link step.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]

mod artifact;
mod away;
mod batch;
mod bulk;
#[cfg(feature = "http")]
mod corpus;
mod deploy;
#[cfg(feature = "failpoints")]
mod failpoints;
mod fallback;
#[cfg(feature = "http")]
mod http_access;
#[cfg(feature = "http")]
mod http_client;
#[cfg(feature = "http")]
mod http_deployment;
#[cfg(feature = "http")]
mod http_errors;
#[cfg(feature = "http")]
mod http_faults;
#[cfg(feature = "http")]
mod http_routes;
#[cfg(feature = "http")]
mod http_server;
mod index;
#[cfg(feature = "testing")]
mod index_corpus;
#[cfg(feature = "http")]
mod key_log;
mod loading;
mod model;
#[cfg(feature = "http")]
mod monitor;
#[cfg(feature = "http")]
mod openapi;
mod published;
mod refresh;
mod registry;
#[cfg(all(feature = "qdrant", feature = "pgvector", feature = "testing"))]
mod remote;
mod repeat;
mod rules;
mod served_corpus;
#[cfg(feature = "http")]
mod together;
