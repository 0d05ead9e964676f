//! Waiting for the device without blocking.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use super::context::{Context, locked};
use crate::error::Result;

/// Ready once all that had been submitted is done, or cannot be.
pub(super) struct Done(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    result: Option<Result<()>>,
    waker: Option<Waker>,
}

impl Context {
    /// Waits in a thread of its own, so that the one that awaits need not.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn done(context: &Arc<Self>) -> Result<Done> {
        let state = Arc::new(Mutex::new(State::default()));
        let (waiting, kept) = (Arc::clone(context), Arc::clone(&state));
        let wait = move || {
            let result = waiting.wait();
            let mut state = locked(&kept);
            state.result = Some(result);
            if let Some(waker) = state.waker.take() {
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
