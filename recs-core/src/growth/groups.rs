//! Known products by subcategory and category.

use ndarray::{Array2, ArrayRef2};
use std::collections::HashMap;
use std::hash::Hash;

/// What the products of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Category and subcategory.
    Subcategory,
    /// The category.
    Category,
    /// Nothing: all known products.
    All,
}

/// Known products by what they are, to start a new one like its own kind. `K` names categories and subcategories; its
/// default stands for none, which groups nothing.
///
/// A product's row is the number of its row in the tables by product: its vocabulary id.
#[derive(Debug, Clone)]
pub struct Groups<K> {
    places: HashMap<(K, Option<K>), usize>,
    members: Vec<(Level, Vec<u32>)>,
}

impl<K: Copy + Eq + Hash + Default> Groups<K> {
    /// Groups products given as (category, subcategory, row).
    pub fn new(products: impl IntoIterator<Item = (K, K, u32)>) -> Self {
        let mut groups = Self { places: HashMap::new(), members: vec![(Level::All, Vec::new())] };
        for (category, subcategory, row) in products {
            groups.members[0].1.push(row);
            for (key, level) in keys(category, subcategory) {
                let next = groups.members.len();
                let at = *groups.places.entry(key).or_insert(next);
                if at == next {
                    groups.members.push((level, Vec::new()));
                }
                groups.members[at].1.push(row);
            }
        }
        groups
    }

    /// Number of the closest group that has a product; None when no product is known.
    pub fn find(&self, category: K, subcategory: K) -> Option<usize> {
        let closest = keys(category, subcategory).find_map(|(key, _)| self.places.get(&key).copied());
        closest.or_else(|| (!self.members[0].1.is_empty()).then_some(0))
    }

    /// What the products of a group have in common.
    pub fn level(&self, group: usize) -> Level {
        self.members[group].0
    }

    /// Mean of the rows of each group. O(products x width).
    ///
    /// # Shapes
    /// `[groups, width]`; zeros for a group without products.
    ///
    /// # Panics
    /// When a row is beyond the table.
    pub fn means(&self, table: &ArrayRef2<f32>) -> Array2<f32> {
        let mut means = Array2::zeros((self.members.len(), table.ncols()));
        let mut sum = vec![0.0f64; table.ncols()];
        for ((_, rows), mut mean) in self.members.iter().zip(means.rows_mut()) {
            sum.fill(0.0);
            for &row in rows {
                sum.iter_mut().zip(table.row(row as usize)).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            let n = rows.len().max(1) as f64;
            mean.iter_mut().zip(&sum).for_each(|(mean, sum)| *mean = (sum / n) as f32);
        }
        means
    }

    /// The value at `quantile`, from 0 to 1, of each group's first column, the next lower one between two; 0 for a group
    /// without products. O(products log products).
    ///
    /// # Panics
    /// When a row is beyond the table.
    pub fn quantiles(&self, table: &ArrayRef2<f32>, quantile: f64) -> Vec<f32> {
        let of = |rows: &Vec<u32>| {
            let mut values: Vec<f32> = rows.iter().map(|&row| table[[row as usize, 0]]).collect();
            values.sort_unstable_by(f32::total_cmp);
            let at = quantile.clamp(0.0, 1.0) * values.len().saturating_sub(1) as f64;
            values.get(at.floor() as usize).copied().unwrap_or(0.0)
        };
        self.members.iter().map(|(_, rows)| of(rows)).collect()
    }
}

/// The groups of a product, the closest first. The same name of a subcategory may stand in several categories.
fn keys<K: Copy + Eq + Default>(
    category: K,
    subcategory: K,
) -> impl Iterator<Item = ((K, Option<K>), Level)> {
    let none = K::default();
    let finest = (subcategory != none).then_some(((category, Some(subcategory)), Level::Subcategory));
    let coarser = (category != none).then_some(((category, None), Level::Category));
    finest.into_iter().chain(coarser)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_group_with_a_product_is_found() {
        let groups = Groups::new([("a", "x", 1), ("a", "y", 2), ("b", "x", 3), ("", "", 4)]);
        let table = Array2::from_shape_fn((5, 2), |(row, column)| (row * 10 + column) as f32);
        let means = groups.means(&table);
        let found = |category, subcategory| {
            let group = groups.find(category, subcategory).unwrap();
            (groups.level(group), means[[group, 0]], means[[group, 1]])
        };
        assert_eq!(found("a", "x"), (Level::Subcategory, 10.0, 11.0));
        assert_eq!(found("b", "x"), (Level::Subcategory, 30.0, 31.0));
        assert_eq!(found("a", "new"), (Level::Category, 15.0, 16.0));
        assert_eq!(found("a", ""), (Level::Category, 15.0, 16.0));
        assert_eq!(found("new", "x"), (Level::All, 25.0, 26.0));
        assert_eq!(found("", ""), (Level::All, 25.0, 26.0));
        assert_eq!(Groups::<u32>::new([]).find(1, 2), None);
    }

    #[test]
    fn quantiles_are_values_of_the_group() {
        let groups = Groups::new((1..=5).map(|row| (1u32, 0u32, row)));
        let table = Array2::from_shape_fn((6, 1), |(row, _)| [0.0, 5.0, -1.0, 3.0, 9.0, 4.0][row]);
        let at = |q| groups.quantiles(&table, q)[groups.find(1, 0).unwrap()];
        assert_eq!([at(0.0), at(0.25), at(0.3), at(0.5), at(1.0)], [-1.0, 3.0, 3.0, 4.0, 9.0]);
        assert_eq!(Groups::<u32>::new([]).quantiles(&table, 0.5), [0.0]);
    }
}
