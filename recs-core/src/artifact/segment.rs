//! What a segment buys, for customers of whom nothing else is known.

use std::collections::HashMap;
use std::hash::Hash;

/// Purchases everywhere that count beside a segment's own.
///
/// Lists of a hundred products by what a city bought, judged for all customers of three weeks of the grocery data as if nobody
/// knew them, find 14.3 % of their purchases with the city's own counts, 17.6 % with 3,000 purchases from everywhere beside
/// them, 18.6 % with 10,000, and 18.7 % with nothing from the city; of ten products 4.9, 5.6, 5.8 and 5.6 %.
const PRIOR: f64 = 10_000.0;

/// A product's share of what a segment buys: of its `of_segment` purchases `bought` were of the product, `everywhere` is the
/// product's share of all purchases, from 0 to 1. The mean of the posterior under a Dirichlet prior of 10,000 purchases that are
/// distributed as everywhere: small segments get what everybody gets, large ones their own.
///
/// ```
/// use recs_core::artifact::segment_share;
/// assert_eq!(segment_share(0, 0, 0.25), 0.25);
/// assert_eq!(segment_share(10_000, 10_000, 0.0), 0.5);
/// ```
pub fn segment_share(bought: u64, of_segment: u64, everywhere: f64) -> f32 {
    ((bought as f64 + PRIOR * everywhere) / (of_segment as f64 + PRIOR)) as f32
}

/// Purchases of each product in each segment, of customers given with their segment, products and rows. The default segment,
/// an empty name or id 0, stands for none, and segments without purchases are left out. O(purchases).
pub fn sold_by_segment<K: Eq + Hash + Default, P: IntoIterator<Item = (u32, u32)>>(
    customers: impl IntoIterator<Item = (K, P)>,
) -> HashMap<K, HashMap<u32, u64>> {
    let mut segments: HashMap<K, HashMap<u32, u64>> = HashMap::new();
    for (segment, bought) in customers.into_iter().filter(|(segment, _)| *segment != K::default()) {
        let sold = segments.entry(segment).or_default();
        bought.into_iter().for_each(|(product, rows)| *sold.entry(product).or_default() += u64::from(rows));
    }
    segments.retain(|_, sold| !sold.is_empty());
    segments
}
