//! The share of a bounded good that an answer holds until its last byte is sent.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Travels with a response from where something was taken to where the last byte is sent.
#[derive(Clone)]
pub(crate) struct Held {
    _what: Arc<dyn Any + Send + Sync>,
}

impl Held {
    pub(crate) fn new(what: impl Any + Send + Sync) -> Self {
        Self {
            _what: Arc::new(what),
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}
