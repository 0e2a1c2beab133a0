//! Part of a capacity.

/// Returns `fraction` (0.0 to 1.0, other values are clamped) of `whole`, rounded down.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a bound needs no more than 53 bits, and the product is not negative"
)]
pub fn part_of(whole: u64, fraction: f64) -> u64 {
    (whole as f64 * fraction.clamp(0.0, 1.0)) as u64
}
