//! How much a test does, and from which seed.

/// The variable that asks for the full numbers of the acceptance, with the value `full`.
const SCALE: &str = "TRUNKLINE_TEST_SCALE";

/// The variable that repeats a run.
const SEED: &str = "TRUNKLINE_TEST_SEED";

/// Whether the full numbers are asked for: `TRUNKLINE_TEST_SCALE=full`.
#[must_use]
pub fn is_full() -> bool {
    std::env::var(SCALE).is_ok_and(|scale| scale == "full")
}

/// `modest` for every day, `full` for the acceptance.
#[must_use]
pub fn scaled<T>(modest: T, full: T) -> T {
    if is_full() { full } else { modest }
}

/// The seed of a run, printed so that a failure can be repeated with `TRUNKLINE_TEST_SEED`.
#[must_use]
pub fn seed() -> u64 {
    let seed = std::env::var(SEED)
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    seed
}
