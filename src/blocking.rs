//! Work that waits for files, beside the one thread that waits for everything else.

use std::io;

/// Runs `work` on the threads for file work, and returns what it returns.
///
/// # Errors
/// What `work` reports, or that it did not end.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
