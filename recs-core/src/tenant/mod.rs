//! Who owns what. A [`TenantId`] is part of every path, key, metric and log line.

mod id;

pub use id::TenantId;
