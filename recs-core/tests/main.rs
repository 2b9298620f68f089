//! Integration tests of recs-core, one binary.

// A test that cannot go on fails; clippy's own exception does not reach helper functions.
#![allow(clippy::unwrap_used, clippy::too_many_lines)]

mod it {
    mod artifact;
    mod corpus;
    mod dataset;
    #[cfg(all(feature = "webhooks", feature = "smtp"))]
    mod notify;
    mod parsers;
    mod store;
    mod tensorflow;
    mod tfrecord;
    mod vocabulary;
    mod weights;
}
