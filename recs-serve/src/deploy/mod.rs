//! Versions side by side, and a server that changes them under load.
//!
//! | file | what |
//! |---|---|
//! | `live.rs` | [`Live`]: the versions that answer a tenant's requests, swapped while they come |
//! | `deployer.rs` | [`Deployer`]: follows the registry: load, verify, warm up, gate, swap, watch, roll back |
//! | `load.rs` | a version from the store to a retriever that is fit to serve |
//! | `watch.rs` | versions that fail at their requests |
//! | `remembered.rs` | what was served last, for a start while the store is away |
//! | `cache.rs` | versions on this machine's disk, ready to be mapped |
//! | `gate.rs` | [`examine`]: whether a version is fit to serve |
//! | `memory.rs` | [`ModelMemory`]: what models of many tenants may take; who was not asked for long makes room |
//! | `split.rs` | [`Split`]: which customers a canary answers |

mod cache;
mod deployer;
mod gate;
mod live;
mod load;
mod memory;
mod remembered;
mod split;
mod watch;

pub(crate) use cache::put;
pub use deployer::{DeployConfig, Deployer};
pub use gate::{GateConfig, Health, examine};
pub use live::{Live, Serving, Side, Trial, Version};
pub use memory::{MemoryConfig, ModelMemory};
pub use split::Split;
