//! Output that the disk did not take.

use super::Stream;

/// How long a child waits for room on the disk; after that its output is worth less than its work.
pub(super) const PATIENCE_MS: u64 = 10_000;

/// How often a full disk is tried: nothing tells when there is room again.
pub(super) const RETRY_MS: u64 = 200;

/// What a child wrote and waits for.
#[derive(Debug)]
pub(super) struct Stuck {
    pub(super) stream: Stream,
    pub(super) bytes: Vec<u8>,
    pub(super) until_ms: u64,
}
