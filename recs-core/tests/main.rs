//! Integration tests of recs-core, one binary.

mod it {
    mod artifact;
    mod dataset;
    mod store;
    mod tensorflow;
    mod tfrecord;
    mod vocabulary;
}
