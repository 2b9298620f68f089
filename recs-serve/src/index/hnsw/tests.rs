use super::*;
use crate::index::conformance;
use ndarray::{Axis, s};
use proptest::prelude::*;
use recs_core::kernel::dot;

const DIM: usize = 12;

fn config() -> HnswConfig {
    HnswConfig { m: 12, ef_construction: 100, ef_search: 100, seed: 1 }
}

fn index(vectors: &Array2<f32>) -> HnswIndex {
    HnswIndex::build(vectors.clone(), &config(), &CancelToken::new()).unwrap()
}

fn build(vectors: Array2<f32>) -> Result<Box<dyn VectorIndex>> {
    Ok(Box::new(HnswIndex::build(vectors, &config(), &CancelToken::new())?))
}

/// Vectors around 40 centres, whose lengths differ when `spread` is not 0.
fn clustered(len: usize, seed: u64, spread: f32) -> Array2<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let centres = Array2::from_shape_simple_fn((40, DIM), &mut next);
    let mut vectors = Array2::zeros((len, DIM));
    for mut row in vectors.rows_mut() {
        let centre = centres.row(((next() + 1.0) * 20.0) as usize % 40);
        let length = (spread * next()).exp();
        row.iter_mut().zip(centre).for_each(|(x, c)| *x = (c + 0.4 * next()) * length);
    }
    vectors
}

fn found(index: &HnswIndex, query: &[f32], k: usize, filter: &Filter) -> Vec<u32> {
    let mut hits = Vec::new();
    index.search(query, k, filter, &mut Scratch::default(), &mut hits).unwrap();
    hits.iter().map(|h| h.index).collect()
}

fn recall(index: &HnswIndex, vectors: &Array2<f32>, k: usize, filter: &Filter) -> f64 {
    let (mut right, mut all) = (0, 0);
    for query in clustered(60, 99, 0.0).rows() {
        let query = query.to_slice().unwrap();
        let best = conformance::naive(&vectors.view(), query, k, filter);
        let got = found(index, query, k, filter);
        right += best.iter().filter(|hit| got.contains(&hit.index)).count();
        all += best.len();
    }
    right as f64 / all as f64
}

/// Every node can be reached from node 0 in every layer.
fn assert_whole(index: &HnswIndex) {
    for l in 0..index.image.layers() {
        let layer = index.image.layer(l);
        let nodes = layer.links.len() / layer.degree;
        let (mut seen, mut queue) = (vec![false; nodes], vec![0u32]);
        seen[..nodes.min(1)].fill(true);
        while let Some(node) = queue.pop().filter(|_| nodes > 0) {
            for next in layer.neighbours(node) {
                assert_ne!(next, node, "a node leads to itself");
                if !std::mem::replace(&mut seen[next as usize], true) {
                    queue.push(next);
                }
            }
        }
        assert!(
            seen.iter().all(|s| *s),
            "{} of {nodes} nodes of layer {l} are out of reach",
            seen.iter().filter(|s| !**s).count()
        );
    }
}

#[test]
fn conforms() {
    conformance::run(&build);
    conformance::recall_is_at_least(&build, 0.95);
}

#[test]
fn the_same_graph_for_any_number_of_threads() {
    let vectors = clustered(3000, 1, 0.0);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| index(&vectors)).bytes().to_vec()
    };
    let one = with(1);
    assert!(one == with(2) && one == with(5));
    let other = HnswIndex::build(vectors, &HnswConfig { seed: 2, ..config() }, &CancelToken::new()).unwrap();
    assert!(one != other.bytes(), "the seed decides who is in the upper layers");
}

#[test]
fn finds_nearly_all_whatever_the_lengths() {
    for spread in [0.0, 0.3, 1.0] {
        let vectors = clustered(4000, 2, spread);
        let index = index(&vectors);
        assert_whole(&index);
        let recall = recall(&index, &vectors, 20, &Filter::default());
        assert!(recall > 0.97, "recall {recall} at spread {spread}");
    }
}

#[test]
fn a_larger_ef_search_finds_more() {
    let vectors = clustered(5000, 3, 0.0);
    let index = index(&vectors);
    let at = |ef| recall(&index.with_ef_search(ef).unwrap(), &vectors, 10, &Filter::default());
    assert!(at(10) < at(40) && at(40) <= at(400) && at(400) > 0.999, "{} {} {}", at(10), at(40), at(400));
    assert!(index.with_ef_search(0).is_err());
}

#[test]
fn equal_vectors_share_a_node_and_cut_nobody_off() {
    let mut vectors = clustered(2000, 4, 0.0);
    let first = vectors.row(0).to_owned();
    vectors.slice_mut(s![500..1500, ..]).assign(&first.broadcast((1000, DIM)).unwrap());
    vectors.slice_mut(s![1500..1700, ..]).fill(0.0);
    let index = index(&vectors);
    assert_eq!(index.image.nodes(), 2000 - 1000 - 199);
    assert_whole(&index);
    let hits = found(&index, first.as_slice().unwrap(), 50, &Filter::default());
    assert_eq!(hits.len(), 50);
    assert!(hits.iter().all(|&i| vectors.row(i as usize) == first
        || dot(first.as_slice().unwrap(), vectors.row(i as usize).to_slice().unwrap()) > first.dot(&first)));
    assert_eq!(found(&index, &[1.0; DIM], 2000, &Filter::default()).len(), 2000);
}

#[test]
fn all_vectors_equal() {
    let index = index(&Array2::ones((300, DIM)));
    assert_eq!(found(&index, &[1.0; DIM], 7, &Filter::default()), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn filters_do_not_cost_recall() {
    let vectors = clustered(6000, 5, 0.0);
    let index = index(&vectors);
    let open = recall(&index, &vectors, 20, &Filter::default());
    for modulus in [2, 10, 100, 1000] {
        let set = Arc::new(crate::index::BitSet::from_fn(6000, |i| i * 7919 % 6000 % modulus == 0));
        let filtered = recall(&index, &vectors, 20, &Filter::default().within(set));
        assert!(filtered >= open, "{filtered} with one of {modulus}, {open} without a filter");
    }
    // What passes lies elsewhere than what is near.
    let query = vectors.row(0).to_owned();
    let score = |i: usize| vectors.row(i).dot(&query);
    let far = Arc::new(crate::index::BitSet::from_fn(6000, |i| score(i) < 0.0));
    let filter = Filter::default().within(far);
    let best = conformance::naive(&vectors.view(), query.as_slice().unwrap(), 20, &filter);
    assert_eq!(
        found(&index, query.as_slice().unwrap(), 20, &filter),
        best.iter().map(|h| h.index).collect::<Vec<_>>()
    );
}

#[test]
fn the_walk_among_those_that_pass_finds_them() {
    let vectors = clustered(8000, 15, 0.2);
    let narrow = index(&vectors).with_ef_search(4).unwrap();
    let mut scratch = Scratch::default();
    for (modulus, k) in [(2, 1), (2, 3), (3, 2), (64, 1)] {
        let set = Arc::new(crate::index::BitSet::from_fn(8000, |i| i * 7919 % 8000 % modulus != 1));
        let filter = Filter::default().within(set);
        let (mut found_all, mut right) = (0, 0);
        let open = recall(&narrow, &vectors, k, &Filter::default());
        for query in clustered(60, 99, 0.0).rows() {
            let query = query.to_slice().unwrap();
            let rounded = narrow.image.codec.query(query);
            assert!(narrow.walk_filtered(&rounded, k, &filter, &mut scratch), "{modulus}, {k}: it scans");
            let picked = std::mem::take(&mut scratch.picked);
            assert!(picked.iter().all(|&candidate| filter.passes(candidate)));
            let mut once = picked.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), picked.len());
            let best = conformance::naive(&vectors.view(), query, k, &filter);
            right += best.iter().filter(|hit| picked.contains(&hit.index)).count();
            found_all += k;
        }
        let share = right as f64 / found_all as f64;
        assert!(share >= open, "{share} at {modulus}, {k}; {open} without a filter");
    }
}

#[test]
fn so_many_that_walking_is_dearer_are_scanned_for() {
    let vectors = clustered(3000, 16, 0.0);
    let index = index(&vectors);
    assert!(!index.is_wide(100) && index.is_wide(101));
    for k in [101, 1500, 2999, 3000] {
        assert_eq!(recall(&index, &vectors, k, &Filter::default()), 1.0);
    }
}

#[test]
fn what_is_deleted_no_longer_sets_the_scale() {
    let mut vectors = clustered(2000, 17, 0.0);
    vectors.row_mut(7).fill(1e6);
    let deleted = index(&vectors).with_deleted(&[7]).unwrap();
    assert!(deleted.image.codec.length < 100.0);
    vectors.row_mut(7).fill(0.0);
    let filter = Filter::default().deny([7]);
    let recall = |index: &HnswIndex| recall(index, &vectors, 20, &filter);
    let (after, never) = (recall(&deleted), recall(&index(&vectors)));
    assert!(after > never - 0.02, "{after} after it was deleted, {never} without it");
}

#[test]
fn what_is_inserted_is_found() {
    let vectors = clustered(3000, 6, 0.3);
    let some = index(&vectors.slice(s![..2000, ..]).to_owned());
    let all = some.with_inserted(&vectors.slice(s![2000.., ..]).to_owned(), &CancelToken::new()).unwrap();
    assert_eq!((some.len(), all.len()), (2000, 3000));
    assert_whole(&all);
    let (inserted, built) = (
        recall(&all, &vectors, 20, &Filter::default()),
        recall(&index(&vectors), &vectors, 20, &Filter::default()),
    );
    assert!(inserted > built - 0.01, "{inserted} inserted, {built} built at once");
    // A vector that is there already gets a number, not a node.
    let again = all.with_inserted(&vectors.slice(s![7..8, ..]).to_owned(), &CancelToken::new()).unwrap();
    assert_eq!((again.len(), again.image.nodes()), (3001, all.image.nodes()));
    assert!(found(&again, vectors.row(7).to_slice().unwrap(), 3001, &Filter::default()).contains(&3000));
    let wide = all.with_inserted(&Array2::ones((1, DIM + 1)), &CancelToken::new());
    assert!(matches!(wide, Err(Error::Dimension { what: "candidate", .. })));
    let from_nothing = index(&Array2::zeros((0, DIM))).with_inserted(&vectors, &CancelToken::new()).unwrap();
    assert_whole(&from_nothing);
    assert!(recall(&from_nothing, &vectors, 20, &Filter::default()) > 0.95);
}

#[test]
fn what_is_deleted_is_gone_and_the_rest_is_found() {
    let vectors = clustered(3000, 7, 0.0);
    let all = index(&vectors);
    let deleted: Vec<u32> = (0..3000).filter(|i| i % 3 != 1).collect();
    let rest = all.with_deleted(&deleted).unwrap();
    assert_eq!((rest.len(), rest.image.nodes()), (3000, 1000));
    assert_whole(&rest);
    let kept = Filter::default().deny(deleted.iter().copied());
    assert!(recall(&rest, &vectors, 20, &kept) > 0.97);
    assert_eq!(found(&rest, &[0.5; DIM], 3000, &Filter::default()).len(), 1000);
    assert_eq!(found(&rest, &[0.5; DIM], 9, &Filter::default().allow([0, 1, 2, 4])), {
        let mut pair = vec![1, 4];
        pair.sort_by(|a, b| vectors.row(*b as usize).sum().total_cmp(&vectors.row(*a as usize).sum()));
        pair
    });
    let none = rest.with_deleted(&(0..4000).collect::<Vec<_>>()).unwrap();
    assert!(found(&none, &[0.5; DIM], 5, &Filter::default()).is_empty());
    let back = none.with_inserted(&vectors.slice(s![..5, ..]).to_owned(), &CancelToken::new()).unwrap();
    assert_eq!(found(&back, &[0.5; DIM], 9, &Filter::default()).len(), 5);
}

#[test]
fn a_cancelled_build_ends() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let ended = HnswIndex::build(clustered(100, 8, 0.0), &config(), &cancel);
    assert!(matches!(ended, Err(Error::Core(recs_core::Error::Cancelled))));
}

#[test]
fn settings_out_of_range_are_refused() {
    for config in [
        HnswConfig { m: 1, ..config() },
        HnswConfig { ef_construction: 3, ..config() },
        HnswConfig { ef_search: 0, ..config() },
    ] {
        let refused = HnswIndex::build(Array2::ones((2, 2)), &config, &CancelToken::new());
        assert!(matches!(refused, Err(Error::Config { .. })), "{config:?}");
    }
}

fn catalogue(vectors: &Array2<f32>) -> Arc<Candidates> {
    let n = vectors.nrows();
    let names: Vec<String> = (0..n).map(|i| i.to_string()).collect();
    Arc::new(Candidates {
        ids: names.clone(),
        names: names.clone(),
        categories: names,
        available: vec![true; n],
        popularity: vec![1; n],
        vectors: vectors.clone(),
    })
}

fn written(bytes: &[u8]) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file.into_temp_path()
}

#[test]
fn a_file_is_the_index() {
    let vectors = clustered(700, 9, 0.3);
    let built = HnswIndex::build_shared(catalogue(&vectors), &config(), &CancelToken::new()).unwrap();
    for index in [built.clone(), built.with_deleted(&[3, 5]).unwrap()] {
        let path = written(index.bytes());
        let opened = HnswIndex::open(&path, catalogue(&vectors)).unwrap();
        assert!(opened.bytes() == index.bytes() && opened.config() == index.config());
        for query in clustered(20, 10, 0.0).rows() {
            let query = query.to_slice().unwrap();
            assert_eq!(
                found(&opened, query, 30, &Filter::default()),
                found(&index, query, 30, &Filter::default())
            );
        }
        assert!(
            !found(&opened.with_deleted(&[4]).unwrap(), &[1.0; DIM], 700, &Filter::default()).contains(&4)
        );
    }
}

#[test]
fn a_file_of_other_vectors_is_refused() {
    let vectors = clustered(200, 11, 0.0);
    let path = written(index(&vectors).bytes());
    let refused = |vectors: &Array2<f32>| HnswIndex::open(&path, catalogue(vectors)).unwrap_err().to_string();
    let mut other = vectors.clone();
    other[[7, 3]] += 1e-3;
    assert!(refused(&other).contains("other vectors"));
    assert!(
        refused(&vectors.slice(s![..199, ..]).to_owned()).contains("200 vectors of 12 numbers, not of 199")
    );
    other.swap_axes(0, 1);
    assert!(refused(&vectors.select(Axis(1), &[0, 1, 2])).contains("12 numbers, not of 200 of 3"));
    assert!(
        HnswIndex::open(Path::new("/nowhere/index"), catalogue(&vectors))
            .unwrap_err()
            .to_string()
            .contains("/nowhere/index")
    );
}

#[test]
fn damage_is_refused_at_every_place() {
    let vectors = clustered(60, 12, 0.3);
    let (whole, candidates) = (index(&vectors).bytes().to_vec(), catalogue(&vectors));
    for at in (0..whole.len()).step_by(7).chain([8, 136, 140, 191, 192]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        let opened = HnswIndex::open(&written(&bytes), candidates.clone());
        // Between head and body nothing is kept.
        assert!(
            matches!(opened, Err(Error::Index { .. })) || (144..192).contains(&at),
            "a flipped bit at {at}"
        );
    }
    for len in [0, 7, 100, 191, 192, whole.len() / 2, whole.len() - 1] {
        let opened = HnswIndex::open(&written(&whole[..len]), candidates.clone());
        assert!(matches!(opened, Err(Error::Index { .. })), "the first {len} bytes");
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(HnswIndex::open(&written(&longer), candidates).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Checksums that fit protect from nobody who means it: such a file is refused, or searched without harm.
    #[test]
    fn a_hostile_file_does_no_harm(changes in proptest::collection::vec((0usize..9000, any::<u8>()), 1..6)) {
        thread_local!(static WHOLE: (Vec<u8>, Arc<Candidates>) = {
            let vectors = clustered(60, 12, 0.3);
            (index(&vectors).bytes().to_vec(), catalogue(&vectors))
        });
        let (mut bytes, candidates) = WHOLE.with(Clone::clone);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        image::sign(&mut bytes);
        if let Ok(index) = HnswIndex::open(&written(&bytes), candidates) {
            for filter in [Filter::default(), Filter::default().deny(0..30)] {
                let mut hits = Vec::new();
                let _ = index.search(&[1.0; DIM], 20, &filter, &mut Scratch::default(), &mut hits);
                prop_assert!(hits.iter().all(|hit| hit.index < 60));
            }
        }
    }
}
