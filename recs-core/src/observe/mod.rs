//! Progress and cancellation: what a long job tells its host, and how the host stops it.

mod cancel;
mod observer;

pub use cancel::CancelToken;
pub use observer::{Collect, Event, Observer, Silent, Tee};
