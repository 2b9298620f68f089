//! What a request allows, forbids, lifts and pins, in numbers of the catalogue.

use super::catalogue::Catalogue;
use super::{Ignored, IgnoredValue, Request};
use crate::index::Filter;

/// The rules of one request.
///
/// Order of precedence: `exclude`, `exclude_purchased`, `allow`, `categories`, `available_only` decide what may be
/// returned at all; then pins, in their order; then everything else by score and boost; the cap on categories counts
/// over the whole list, pins first.
#[derive(Debug)]
pub(super) struct Rules {
    /// What may be returned, less what is pinned or lifted: these are ranked apart.
    pub(super) filter: Filter,
    /// May be returned, in the order of the request, each once.
    pub(super) pins: Vec<u32>,
    /// May be returned: product and amount, ascending by product, each once.
    pub(super) boosts: Vec<(u32, f32)>,
    /// What the model adds because the customer bought the product before; may be returned, ascending by product.
    pub(super) repeats: Vec<(u32, f32)>,
    /// `pins` and the products of `boosts` and `repeats`, ascending.
    pub(super) apart: Vec<u32>,
    pub(super) ignored: Vec<IgnoredValue>,
}

impl Rules {
    /// Looks up the products and categories of a request; `bought` is the customer's purchases, `repeats` what the model
    /// adds to them.
    pub(super) fn new(
        catalogue: &Catalogue,
        request: &Request,
        bought: &[u32],
        repeats: impl Iterator<Item = (u32, f32)>,
    ) -> Self {
        let mut ignored = Vec::new();
        let mut allowed = Filter::default();
        if let Some(available) = catalogue.available.as_ref().filter(|_| request.available_only) {
            allowed = allowed.within(available.clone());
        }
        if let Some(allow) = &request.allow {
            allowed = allowed.allow(look_up("allow", allow, |id| catalogue.find(id), &mut ignored));
        }
        if let Some(names) = &request.categories {
            let among = look_up("categories", names, |name| catalogue.find_category(name), &mut ignored);
            allowed = allowed.labelled(catalogue.category_of.clone(), among);
        }
        let mut denied = look_up("exclude", &request.exclude, |id| catalogue.find(id), &mut ignored);
        if request.exclude_purchased {
            denied.extend_from_slice(bought);
        }
        allowed = allowed.deny(denied);
        let pins = pins(catalogue, request, &allowed, &mut ignored);
        let boosts = boosts(catalogue, request, &allowed, &mut ignored);
        let repeats: Vec<(u32, f32)> = repeats.filter(|(product, _)| allowed.passes(*product)).collect();
        let lifted = boosts.iter().chain(&repeats).map(|lifted| lifted.0);
        let mut apart: Vec<u32> = pins.iter().copied().chain(lifted).collect();
        apart.sort_unstable();
        apart.dedup();
        Self { filter: allowed.deny(apart.iter().copied()), pins, boosts, repeats, apart, ignored }
    }

    /// How many products may be returned.
    pub(super) fn passed(&self, products: usize) -> usize {
        self.filter.count(products) + self.apart.len()
    }

    /// What the request adds to a product's score.
    pub(super) fn boost(&self, product: u32) -> f32 {
        amount(&self.boosts, product)
    }

    /// What the model adds to a product's score because the customer bought it before.
    pub(super) fn repeat(&self, product: u32) -> f32 {
        amount(&self.repeats, product)
    }

    /// True for products whose score something is added to: they are ranked apart.
    pub(super) fn is_lifted(&self, product: u32) -> bool {
        [&self.boosts, &self.repeats].iter().any(|of| of.binary_search_by_key(&product, |b| b.0).is_ok())
    }
}

fn amount(of: &[(u32, f32)], product: u32) -> f32 {
    of.binary_search_by_key(&product, |b| b.0).map_or(0.0, |at| of[at].1)
}

fn look_up(
    field: &'static str,
    names: &[String],
    find: impl Fn(&str) -> Option<u32>,
    ignored: &mut Vec<IgnoredValue>,
) -> Vec<u32> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match find(name) {
            Some(number) => found.push(number),
            None => ignored.push(IgnoredValue { field, value: name.clone(), why: Ignored::Unknown }),
        }
    }
    found
}

fn pins(
    catalogue: &Catalogue,
    request: &Request,
    allowed: &Filter,
    ignored: &mut Vec<IgnoredValue>,
) -> Vec<u32> {
    let mut pins = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for id in &request.pin {
        let why = match catalogue.find(id) {
            None => Ignored::Unknown,
            Some(product) if !allowed.passes(product) => Ignored::Filtered,
            Some(product) if !seen.insert(product) => Ignored::Repeated,
            Some(product) => {
                pins.push(product);
                continue;
            }
        };
        ignored.push(IgnoredValue { field: "pin", value: id.clone(), why });
    }
    pins
}

fn boosts(
    catalogue: &Catalogue,
    request: &Request,
    allowed: &Filter,
    ignored: &mut Vec<IgnoredValue>,
) -> Vec<(u32, f32)> {
    let mut boosts: Vec<(u32, f32)> = Vec::new();
    for (id, amount) in &request.boost {
        let why = match catalogue.find(id) {
            None => Ignored::Unknown,
            Some(product) if !allowed.passes(product) => Ignored::Filtered,
            Some(product) => {
                boosts.push((product, *amount));
                continue;
            }
        };
        ignored.push(IgnoredValue { field: "boost", value: id.clone(), why });
    }
    boosts.sort_by_key(|b| b.0);
    boosts.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            first.1 += later.1;
        }
        same
    });
    boosts
}
