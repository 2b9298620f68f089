//! Bytes that a step allocates, counted: large rooms are kept from step to step.

use super::made::Made;
use recs_core::model::Activation;
use recs_core::schema::Schema;
use recs_train::TrainConfig;
use recs_train::backend::{Backend, Batch, CpuBackend};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::process::Command;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STEPS: usize = 4;

/// Bytes of a step of `n` rows, after some that make room.
fn bytes_of_a_step(backend: &mut CpuBackend, n: usize) -> usize {
    let all = batches(n);
    let mut step = |batch: &[u32]| assert!(backend.step(Batch::rows(batch), 1e-3).is_ok());
    all.chunks(n).for_each(&mut step);
    let region = Region::new(COUNTED);
    all.chunks(n).for_each(&mut step);
    let change = region.change();
    (change.bytes_allocated + change.bytes_reallocated.unsigned_abs()) / STEPS
}

/// Every row is in each batch, in another order.
fn batches(n: usize) -> Vec<u32> {
    (0..STEPS * n).map(|i| (7 * i % n) as u32).collect()
}

/// In a process of its own: nobody else's allocations are counted.
#[test]
fn a_step_allocates_no_more_than_a_few_numbers_a_row() {
    let mut counting = Command::new(std::env::current_exe().unwrap());
    counting.args(["it::allocation::counted", "--exact", "--ignored", "--nocapture"]);
    assert!(counting.status().unwrap().success());
}

#[tokio::test]
#[ignore = "the process that the test above starts"]
async fn counted() {
    for activation in [Activation::Linear, Activation::Relu] {
        let mut config = TrainConfig::reference();
        (config.query.activation, config.candidate.activation) = (activation, activation);
        let made = Made::new(&config, Schema::retail(), 200, 0.1).await;
        let rows = made.data.rows();
        assert!(rows >= 2000, "{rows}");
        let mut backend = made.backend(&config, made.weights.clone());
        let [few, many] = [200, 2000].map(|n| bytes_of_a_step(&mut backend, n));
        println!("{activation:?}: {few} bytes a step of 200 rows, {many} of 2000");
        // An embedding has 128 bytes, what the first layer reads and gives a thousand.
        assert!(many.saturating_sub(few) < 64 * 1800, "{activation:?}: {few}, {many}");
    }
}
