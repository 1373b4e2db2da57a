//! `cargo xtask soak matrix`: the matrix of the tests, in full.

use crate::{
    step::{self, StepError},
    workspace::cargo,
};

/// Runs the four environments one after the other: each has some fifty daemons.
pub(crate) fn matrix() -> Result<(), StepError> {
    let flags = ["matrix::", "--", "--nocapture", "--test-threads", "1"];
    let mut test = cargo(["test", "--release", "--package", "tests"]);
    test.args(flags).env("DAE_TEST_MATRIX", "all");
    step::run(test.env("DAE_TEST_OUTPUT", (1_u64 << 30).to_string()))
}
