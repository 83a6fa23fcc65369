//! Work that takes the CPU, on threads of its own.

use crate::api::error::{Code, Error};
use crate::api::scope::Scope;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// A query: no tenant takes all the slots, however much it asks.
pub(super) async fn on_query_thread<T: Send + 'static>(
    scope: &Scope,
    work: impl FnOnce(&Scope) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let Ok(own) = Arc::clone(&scope.usage.queries).acquire_owned().await else {
        return Err(Error::new(Code::Unavailable, "the server is stopping"));
    };
    let work = move |scope: &Scope| {
        let result = work(scope);
        drop(own);
        result
    };
    on_thread(scope, &scope.queries, work).await
}

/// Waits for one of the slots, then works. The slot is the work's: a client that leaves does not make room for more of it.
pub(super) async fn on_thread<T: Send + 'static>(
    scope: &Scope,
    slots: &Arc<Semaphore>,
    work: impl FnOnce(&Scope) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
        return Err(Error::new(Code::Unavailable, "the server is stopping"));
    };
    with_slot(scope, slot, work).await
}

pub(super) async fn with_slot<T: Send + 'static>(
    scope: &Scope,
    slot: OwnedSemaphorePermit,
    work: impl FnOnce(&Scope) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let scope = scope.clone();
    let working = spawn_blocking(move || {
        let result = work(&scope);
        drop(slot);
        result
    });
    working.await.unwrap_or_else(|err| Err(Error::new(Code::Internal, err.to_string())))
}
