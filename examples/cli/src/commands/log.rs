//! What a server says while it runs.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Unless the environment variable `RECS_LOG` says otherwise, in the directives of tracing's `EnvFilter`.
const DIRECTIVES: &str = "warn,recs_core=info,recs_serve=info";

/// Writes what is traced to stderr, a line each: time, level, request id, tenant, message. A host that does so already, a Python
/// notebook say, keeps its own way.
pub(super) fn start(as_json: bool) {
    let filter = EnvFilter::try_from_env("RECS_LOG").unwrap_or_else(|_| EnvFilter::new(DIRECTIVES));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match as_json {
        true => lines.json().try_init(),
        false => lines.try_init(),
    };
}
