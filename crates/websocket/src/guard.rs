use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// Somebody's code has panicked; what it said is traced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

/// Runs `make`, and what it makes, so that a panic of either costs no more than that.
///
/// What they held when they panicked is not looked at again.
pub(crate) async fn guarded<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output, Panicked> {
    let mut future = pin!(catch_unwind(AssertUnwindSafe(make)).map_err(tell)?);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))).map_err(tell);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panicked) => Poll::Ready(Err(panicked)),
        }
    })
    .await
}

/// Traces what a panic said.
pub(crate) fn tell(panic: Box<dyn Any + Send>) -> Panicked {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(said = said.unwrap_or("nothing"), "a handler has panicked");
    Panicked
}
