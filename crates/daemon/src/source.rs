use std::fmt;

use serde_json::value::RawValue;

/// What is asked for the next event of a stream whenever its guest has room, so that what waits
/// stays with the daemon: it may drop it, or put something shorter in its place.
///
/// Set by [`Stream::draw_from`](crate::Stream::draw_from).
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// The next event: its topic and its payload. After `None` nobody asks again before
    /// [`Stream::wake`](crate::Stream::wake), or the end of the stream.
    fn next(&self) -> Option<(&'static str, Box<RawValue>)>;

    /// How many bytes wait here, for the bound on what all guests together make a daemon keep.
    fn held_bytes(&self) -> usize;
}
