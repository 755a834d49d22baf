//! Tasks and threads. In a simulation everything runs on the simulation's one thread.

use std::future::Future;
use std::io;
use std::thread::JoinHandle as ThreadHandle;

use tokio::task::JoinHandle;

use crate::sim;

/// `tokio::spawn`.
#[expect(clippy::disallowed_methods, reason = "this is the wrapper around the original")]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// A named thread of its own. Not to be used in a simulation, where nothing may run beside its one thread.
pub fn spawn_thread<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<ThreadHandle<T>> {
    assert!(!sim::is_simulated(), "a simulation has one thread");
    std::thread::Builder::new().name(name.into()).spawn(body)
}

/// Runs something that blocks (reads a cold segment, say) away from the network threads; inline in a simulation.
pub async fn run_blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    if sim::is_simulated() {
        return body();
    }
    match tokio::task::spawn_blocking(body).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only when the runtime is going down: nobody is left to see the answer.
        Err(_) => std::future::pending().await,
    }
}
