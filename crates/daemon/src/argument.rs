use std::cell::{Cell, RefCell};

use common_tcp::Failure;
use serde::{
    Deserialize,
    de::{DeserializeOwned, Error, SeqAccess},
};
use serde_json::Value;

use crate::{
    Guest,
    shape::{Missing, Shape},
};

/// What may be a parameter of a command.
///
/// Any *owned* type that serde can read is one, and takes the next argument of the packet.
/// `Option<T>` is optional where only optional ones follow. [`Guest`], [`Session`](crate::Session),
/// [`Stream`](crate::Stream) and [`Rest`] take no argument of their own.
///
/// A borrowed parameter such as `&str` is none: the packet is gone when the command runs.
///
/// ```compile_fail
/// fn get(_: &(), key: &str) -> usize { key.len() }
/// daemon::Daemon::new("Sample").command("get", |_: &(), key: &'static str| key.len());
/// ```
pub trait Argument: Sized + Send + 'static {
    /// What `options` and `help` show of it.
    #[doc(hidden)]
    fn role() -> Role;

    /// Takes it from the arguments that are left, or from what is known of the call.
    #[doc(hidden)]
    fn take<'de, A: SeqAccess<'de>>(call: &Call<'_>, args: &mut A) -> Result<Self, A::Error>;
}

/// What a parameter is to the packet.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The next argument, of this type.
    Wire { kind: &'static str, optional: bool },
    /// All arguments that are left.
    Rest,
    /// The stream that the command starts.
    Stream,
    /// Nothing.
    Context,
}

/// What is known of a call besides its arguments.
#[doc(hidden)]
#[derive(Debug)]
pub struct Call<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) tag: Option<&'a str>,
    /// Which argument is being read, from 0.
    pub(crate) index: Cell<usize>,
    /// Why a parameter that is no argument can't be had.
    pub(crate) refused: RefCell<Option<Failure>>,
}

/// All arguments behind those that the command's other parameters took; it stands last.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest(pub Vec<Value>);

/// An argument that must be given and may be null, where null has a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct OrNull<T>(pub Option<T>);

impl<T: DeserializeOwned + Send + 'static> Argument for T {
    fn role() -> Role {
        Role::Wire { kind: Shape::of::<T>(), optional: T::deserialize(Missing).is_ok() }
    }

    fn take<'de, A: SeqAccess<'de>>(call: &Call<'_>, args: &mut A) -> Result<Self, A::Error> {
        let taken = args.next_element()?;
        call.index.set(call.index.get() + 1);
        taken.map_or_else(|| T::deserialize(Missing).map_err(A::Error::custom), Ok)
    }
}

impl Argument for Rest {
    fn role() -> Role {
        Role::Rest
    }

    fn take<'de, A: SeqAccess<'de>>(call: &Call<'_>, args: &mut A) -> Result<Self, A::Error> {
        let mut rest = Vec::new();
        while let Some(value) = args.next_element()? {
            call.index.set(call.index.get() + 1);
            rest.push(value);
        }
        Ok(Self(rest))
    }
}
