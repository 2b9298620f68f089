//! What the connectors of database servers share: the way there.
//!
//! | file | what |
//! |---|---|
//! | `dial.rs` | host and port -> TCP connection, each failure with its reason |
//! | `tls.rs` | [`TlsConfig`], [`TlsMode`] -> rustls configuration |

mod dial;
mod tls;

pub(crate) use dial::{dial, within};
pub use tls::{TlsConfig, TlsMode};
