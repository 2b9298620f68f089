//! Examples of the recs crates: see `quickstart.rs`, `cli/` and `arrow2-host/`.
