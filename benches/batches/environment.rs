//! What the workers of a sweep run in.

use testkit::kafka::Broker;
use testkit::mongodb::Mongo;

/// Servers, and a topic that is full already.
pub(crate) struct Environment {
    pub(crate) mongo: Mongo,
    pub(crate) broker: Broker,
    pub(crate) topic: String,
    pub(crate) scope: &'static str,
    pub(crate) first: u32,
    pub(crate) events: u32,
}
