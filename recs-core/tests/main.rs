//! Integration tests of recs-core, one binary.

mod it {
    mod artifact;
    mod corpus;
    mod dataset;
    mod parsers;
    mod store;
    mod tensorflow;
    mod tfrecord;
    mod vocabulary;
}
