//! Everything from outside.
