use std::any::TypeId;

use common_tcp::Failure;
use serde::Serialize;

/// What a command may return: any type that serde can write, which becomes the one argument of the
/// reply (`()` becomes none), or a `Result` of it with [`Failure`], or [`Spread`].
pub trait Reply<Kind> {
    /// Appends the arguments of the reply, brackets included.
    #[doc(hidden)]
    fn write(self, out: &mut Vec<u8>) -> Result<(), Failure>;
}

/// A result that is all arguments of the reply at once, such as
/// `credential ["Sample",77,7000,"s1"]`: a tuple, or whatever else serde writes as an array.
#[derive(Clone, Copy, Debug)]
pub struct Spread<T>(pub T);

/// The kinds of replies, which keep the implementations apart.
#[doc(hidden)]
#[derive(Debug)]
pub struct Plain;
#[doc(hidden)]
#[derive(Debug)]
pub struct Fallible<Kind>(Kind);
#[doc(hidden)]
#[derive(Debug)]
pub struct Whole;

impl<T: Serialize + 'static> Reply<Plain> for T {
    fn write(self, out: &mut Vec<u8>) -> Result<(), Failure> {
        out.push(b'[');
        if TypeId::of::<T>() != TypeId::of::<()>() {
            serde_json::to_writer(&mut *out, &self)?;
        }
        out.push(b']');
        Ok(())
    }
}

impl<T: Serialize> Reply<Whole> for Spread<T> {
    fn write(self, out: &mut Vec<u8>) -> Result<(), Failure> {
        Ok(serde_json::to_writer(out, &self.0)?)
    }
}

impl<Kind, T: Reply<Kind>> Reply<Fallible<Kind>> for Result<T, Failure> {
    fn write(self, out: &mut Vec<u8>) -> Result<(), Failure> {
        self?.write(out)
    }
}
