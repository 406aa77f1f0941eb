//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. What a panic left behind is used as it is: every holder writes whole values.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
