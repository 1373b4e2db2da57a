use std::{fmt, marker::PhantomData, pin::Pin};

use common_tcp::Failure;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};

use crate::{
    Reply,
    argument::{Argument, Call, Role},
};

/// What may be a command: `fn(&State, parameters…) -> reply`, or the same `async`.
///
/// A method of the state is one, and so is a closure. Up to eight parameters, each an [`Argument`];
/// the reply is a [`Reply`]. `&mut self` is none: guests share the state, so what changes is behind
/// a lock.
///
/// ```
/// # struct Memory;
/// impl Memory {
///     fn len(&self) -> usize { 0 }
///     async fn wait(&self, key: String) -> Result<u32, daemon::Failure> { Ok(1) }
/// }
/// daemon::Daemon::with_state("Sample", Memory)
///     .command("len", Memory::len)
///     .command("wait", Memory::wait)
///     .command("twice", |_: &Memory, number: f64| number * 2.0);
/// ```
///
/// ```compile_fail
/// struct Memory;
/// impl Memory { fn reset(&mut self) {} }
/// daemon::Daemon::with_state("Sample", Memory).command("reset", Memory::reset);
/// ```
#[diagnostic::on_unimplemented(
    message = "this is no command of a daemon with state `{S}`",
    label = "not `fn(&{S}, parameters…) -> reply`, nor the same `async`",
    note = "every parameter is an owned type that serde can read, or `Guest`, `Session`, `Stream`, `Rest`",
    note = "the reply is a type that serde can write, or a `Result` of it with `Failure`"
)]
pub trait Handler<S, Marker>: Send + Sync + 'static {
    /// What its parameters are, in order.
    #[doc(hidden)]
    fn roles() -> Vec<Role>;

    /// Reads the arguments and runs; a reply that is there at once is appended to `out`.
    #[doc(hidden)]
    fn run<'a>(&'a self, state: &'a S, call: &Call<'_>, args: &str, out: &mut Vec<u8>) -> Ran<'a>;
}

/// What came of a call.
#[doc(hidden)]
pub enum Ran<'a> {
    /// It is done: the reply's arguments are written, or it failed.
    Done(Result<(), Failure>),
    /// The arguments don't fit; nothing was run.
    Misfit(serde_json::Error),
    /// It waits for something.
    Later(Later<'a>),
}

/// A command that waits; in the end the reply's arguments.
pub(crate) type Later<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Failure>> + Send + 'a>>;

impl fmt::Debug for Ran<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Misfit(_) => "Misfit",
            Self::Later(_) => "Later",
        })
    }
}

/// The parameters of a command together.
pub(crate) trait Arguments: Sized {
    fn take<'de, A: SeqAccess<'de>>(call: &Call<'_>, args: &mut A) -> Result<Self, A::Error>;
}

/// Ties an asynchronous command's future to the borrow of the state.
#[doc(hidden)]
pub trait Waits<'a, S: 'a, Args>: Send + Sync + 'static {
    type Output;
    fn start(&self, state: &'a S, args: Args) -> impl Future<Output = Self::Output> + Send + 'a;
}

/// Marks a handler that answers at once.
#[doc(hidden)]
#[derive(Debug)]
pub struct Now<R, Kind, Args>(PhantomData<(R, Kind, Args)>);

/// Marks a handler that may wait.
#[doc(hidden)]
#[derive(Debug)]
pub struct Awaited<R, Kind, Args>(PhantomData<(R, Kind, Args)>);

macro_rules! handlers {
    ($($parameter:ident)*) => {
        impl<$($parameter: Argument),*> Arguments for ($($parameter,)*) {
            #[allow(unused_variables, reason = "without parameters there is nothing to take")]
            fn take<'de, Seq: SeqAccess<'de>>(
                call: &Call<'_>,
                args: &mut Seq,
            ) -> Result<Self, Seq::Error> {
                Ok(($($parameter::take(call, args)?,)*))
            }
        }

        #[allow(non_snake_case, reason = "a parameter is named like its type")]
        impl<S, F, R, Kind, $($parameter),*> Handler<S, Now<R, Kind, ($($parameter,)*)>> for F
        where
            F: Fn(&S, $($parameter),*) -> R + Send + Sync + 'static,
            R: Reply<Kind>,
            $($parameter: Argument),*
        {
            fn roles() -> Vec<Role> {
                vec![$($parameter::role()),*]
            }

            fn run<'a>(
                &'a self,
                state: &'a S,
                call: &Call<'_>,
                args: &str,
                out: &mut Vec<u8>,
            ) -> Ran<'a> {
                match read(call, args) {
                    Ok(($($parameter,)*)) => Ran::Done(self(state, $($parameter),*).write(out)),
                    Err(misfit) => Ran::Misfit(misfit),
                }
            }
        }

        #[allow(non_snake_case, reason = "a parameter is named like its type")]
        impl<'a, S: 'a, F, Fut, $($parameter),*> Waits<'a, S, ($($parameter,)*)> for F
        where
            F: Fn(&'a S, $($parameter),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'a,
        {
            type Output = Fut::Output;

            fn start(
                &self,
                state: &'a S,
                ($($parameter,)*): ($($parameter,)*),
            ) -> impl Future<Output = Self::Output> + Send + 'a {
                self(state, $($parameter),*)
            }
        }

        impl<S, F, R, Kind, $($parameter),*> Handler<S, Awaited<R, Kind, ($($parameter,)*)>> for F
        where
            S: Sync + 'static,
            F: for<'a> Waits<'a, S, ($($parameter,)*), Output = R>,
            R: Reply<Kind>,
            $($parameter: Argument),*
        {
            fn roles() -> Vec<Role> {
                vec![$($parameter::role()),*]
            }

            fn run<'a>(
                &'a self,
                state: &'a S,
                call: &Call<'_>,
                args: &str,
                _: &mut Vec<u8>,
            ) -> Ran<'a> {
                let started = match read(call, args) {
                    Ok(args) => self.start(state, args),
                    Err(misfit) => return Ran::Misfit(misfit),
                };
                Ran::Later(Box::pin(async move {
                    let mut out = Vec::with_capacity(REPLY_BYTES);
                    started.await.write(&mut out).map(|()| out)
                }))
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D E);
handlers!(A B C D E G);
handlers!(A B C D E G H);
handlers!(A B C D E G H I);

/// Room for most replies.
const REPLY_BYTES: usize = 64;

/// Reads all parameters from a JSON array.
fn read<T: Arguments>(call: &Call<'_>, args: &str) -> Result<T, serde_json::Error> {
    struct Reader<'a, T>(&'a Call<'a>, PhantomData<T>);

    impl<'de, T: Arguments> Visitor<'de> for Reader<'_, T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of arguments")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut args: A) -> Result<T, A::Error> {
            let taken = T::take(self.0, &mut args)?;
            match args.next_element::<IgnoredAny>()? {
                None => Ok(taken),
                Some(_) => Err(A::Error::custom("too many arguments")),
            }
        }
    }

    let mut json = serde_json::Deserializer::from_str(args);
    serde::Deserializer::deserialize_seq(&mut json, Reader(call, PhantomData))
}
