//! Versions side by side, and a server that changes them under load.
//!
//! | file | what |
//! |---|---|
//! | `live.rs` | [`Live`]: the versions that answer a tenant's requests, swapped while they come |
//! | `deployer.rs` | [`Deployer`]: follows the registry: load, verify, warm up, gate, swap, watch, roll back |
//! | `cache.rs` | versions on this machine's disk, ready to be mapped |
//! | `gate.rs` | [`examine`]: whether a version is fit to serve |
//! | `split.rs` | [`Split`]: which customers a canary answers |

mod cache;
mod deployer;
mod gate;
mod live;
mod split;

pub use deployer::{DeployConfig, Deployer};
pub use gate::{GateConfig, Health, examine};
pub use live::{Live, Serving, Side, Trial, Version};
pub use split::Split;
