//! Integration tests of recs-train, one binary.

mod it {
    mod finite_differences;
    mod reference;
    mod shards;
    mod trainer;
}
