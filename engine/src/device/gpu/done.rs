//! Waiting for the device, in the thread that needs it or without blocking that.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use super::context::{Context, locked};
use crate::error::Result;

/// Where a wait is spent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    /// In the thread that polls, which blocks: for calls that return when all is done.
    Here,
    /// In a thread of its own, which wakes the one that awaits.
    Aside,
}

/// Ready once all that had been submitted is done, or cannot be.
struct Done(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    result: Option<Result<()>>,
    waker: Option<Waker>,
}

impl Context {
    /// Ready once all that was submitted is done.
    ///
    /// # Errors
    /// When that takes longer than the context's patience, the device is lost, or there is no thread
    /// to wait in.
    pub(super) async fn idle(self: &Arc<Self>, wait: Wait) -> Result<()> {
        match wait {
            Wait::Here => self.wait(),
            Wait::Aside => Self::done(self)?.await,
        }
    }

    fn done(context: &Arc<Self>) -> Result<Done> {
        let state = Arc::new(Mutex::new(State::default()));
        let (waiting, kept) = (Arc::clone(context), Arc::clone(&state));
        let wait = move || {
            // Whoever waits is told of a panic too: nobody else would wake them.
            let result = panic::catch_unwind(AssertUnwindSafe(|| waiting.wait()));
            let result =
                result.unwrap_or_else(|_| Err(waiting.error("waiting panicked".to_owned())));
            let mut state = locked(&kept);
            state.result = Some(result);
            let waker = state.waker.take();
            // One that polls at once takes the lock itself.
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        let thread = thread::Builder::new().name("furthermore-wait".to_owned());
        match thread.spawn(wait) {
            Ok(_) => Ok(Done(state)),
            Err(error) => Err(context.error(error.to_string())),
        }
    }
}

impl Future for Done {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Result<()>> {
        let mut state = locked(&self.0);
        match state.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
