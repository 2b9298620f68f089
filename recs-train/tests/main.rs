//! Integration tests of recs-train, one binary.

// A test that cannot go on fails; clippy's own exception does not reach helper functions.
#![allow(clippy::unwrap_used, clippy::too_many_lines)]

mod it {
    mod allocation;
    mod cache;
    mod checkpoint;
    mod checks;
    mod equal_candidates;
    mod equal_queries;
    mod evaluation;
    mod finite_differences;
    mod losses;
    mod made;
    #[cfg(feature = "mlflow")]
    mod mlflow;
    mod model_choices;
    mod n_grams;
    mod reference;
    mod refusals;
    mod search;
    mod search_encodings;
    mod search_results;
    mod shards;
    mod shared_tables;
    mod trainer;
    mod warm_start;
}
