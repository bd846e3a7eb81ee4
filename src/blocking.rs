//! Runs work that waits for files or devices outside the one thread that serves everything else.
//!
//! * In: a closure.
//! * Out: what the closure returned.
//! * Never: a panic of the closure that is lost: it is an error of the caller.

use std::io;

/// Starts `work` at once on a thread for such work. The returned future waits for what `work`
/// returns; dropping it does not stop `work`.
///
/// # Errors
/// The error of `work`, or an error of input and output when `work` panicked.
pub fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> impl Future<Output = Result<T, E>> + Send
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    let started = tokio::task::spawn_blocking(work);
    async move { started.await.map_err(io::Error::other)? }
}
