//! Scores -> rank of the target.

use crate::error::{Error, Result};

/// Number of scores that are at least `target`. For catalogues scored block by block: sum over the blocks, less one for
/// the target itself.
///
/// # Errors
/// [`Error::NonFinite`] for a score that is not finite.
pub fn count_at_least(scores: &[f32], target: f32) -> Result<u32> {
    let mut count = 0u32;
    let mut finite = true;
    for &score in scores {
        count += u32::from(score >= target);
        finite &= score.is_finite();
    }
    if finite && target.is_finite() {
        return Ok(count);
    }
    let index = scores.iter().position(|s| !s.is_finite());
    Err(Error::NonFinite { index: index.unwrap_or(0), value: index.map_or(target, |i| scores[i]) })
}

/// Number of candidates ranked before `target`: those with a score at least as high, the target itself left out.
///
/// # Errors
/// [`Error::NonFinite`] for a score that is not finite, [`Error::Config`] when `target` is out of range.
///
/// ```
/// assert_eq!(recs_core::metrics::rank_of(&[0.5, 0.9, 0.5], 0)?, 2, "the tie ranks the target last");
/// # Ok::<(), recs_core::Error>(())
/// ```
pub fn rank_of(scores: &[f32], target: usize) -> Result<u32> {
    let Some(&score) = scores.get(target) else {
        return Err(Error::config("target", format!("is {target}, there are {} scores", scores.len())));
    };
    Ok(count_at_least(scores, score)? - 1)
}
