//! Versions side by side, and a server that changes them under load.
//!
//! Many tenants in one process, each with a registry and keys of its own, their models within 8 GiB:
//!
//! ```no_run
//! # #[cfg(feature = "http")]
//! # async fn example(store: recs_core::store::Store, names: Vec<recs_core::tenant::TenantId>) -> recs_serve::Result<()> {
//! use recs_serve::deploy::{DeployConfig, Deployer, MemoryConfig, ModelMemory};
//! use recs_serve::http::{AppState, Auth, KeyLog, KeyRing, ServeConfig, ServerConfig, WithoutKeys, router, serve};
//! use recs_serve::{retriever::Host, workers::Workers};
//! use std::{path::PathBuf, sync::Arc, time::Duration};
//!
//! let (host, look) = (Host::new(Workers::new(0)?), Duration::from_secs(5));
//! let state = AppState::new(host.clone(), ServeConfig::default())?;
//! let memory = ModelMemory::new(MemoryConfig { total_bytes: 8 << 30, tenant_bytes: 2 << 30 })?;
//! let config = DeployConfig { cache: Some(PathBuf::from("/var/cache/recs")), ..DeployConfig::default() };
//! let mut logs = vec![KeyLog::of_operator(&store)?];
//! for tenant in &names {
//!     let root = store.tenant(tenant)?;
//!     logs.push(KeyLog::of_tenant(&root)?);
//!     let deployer = Deployer::new(&root, state.live(tenant), host.clone(), config.clone())?;
//!     let deployer = Arc::new(deployer.with_memory(memory.clone()));
//!     // Keys with the role `manage` may change what serves.
//!     state.manage(tenant, deployer.registry().clone());
//!     tokio::spawn(deployer.follow(look, |error| eprintln!("{error}")));
//! }
//! let keys = Arc::new(KeyRing::new(logs).remembering(PathBuf::from("/var/cache/recs/keys.json")));
//! for error in keys.load(WithoutKeys::Closed).await {
//!     eprintln!("keys may be out of date: {error}");
//! }
//! tokio::spawn(keys.clone().follow(state.clone(), look));
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await.expect("an address that is free");
//! let app = router(state, Auth::Gate(keys));
//! serve(listener, app, &ServerConfig::default(), std::future::pending()).await
//! # }
//! ```
//!
//! | file | what |
//! |---|---|
//! | `live.rs` | [`Live`]: the versions that answer a tenant's requests, swapped while they come |
//! | `deployer.rs` | [`Deployer`]: follows the registry: load, verify, warm up, gate, swap, watch, roll back |
//! | `adopt.rs` | a deployment of the registry -> what serves |
//! | `part.rs` | production, canary, shadow |
//! | `state.rs` | what a deployer knows between two looks |
//! | `load.rs` | a version from the store to a retriever that is fit to serve |
//! | `watch.rs` | versions that fail at their requests |
//! | `remembered.rs` | what was served last, for a start while the store is away |
//! | `cache.rs` | versions on this machine's disk, ready to be mapped |
//! | `gate.rs` | [`examine`]: whether a version is fit to serve |
//! | `probe.rs` | whether it names what customers went on to buy |
//! | `memory.rs` | [`ModelMemory`]: what models of many tenants may take; who was not asked for long makes room |
//! | `split.rs` | [`Split`]: which customers a canary answers |

mod adopt;
mod cache;
mod deployer;
mod gate;
mod live;
mod load;
mod memory;
mod part;
mod probe;
mod remembered;
mod split;
mod state;
mod watch;

#[cfg(feature = "http")]
pub(crate) use cache::put;
pub use deployer::{DeployConfig, Deployer};
pub use gate::{GateConfig, Health, examine};
pub use live::{Live, Serving, Side, Trial, Version};
pub use memory::{MemoryConfig, ModelMemory};
pub use split::Split;
