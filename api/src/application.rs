//! The reader put together: the state that all requests share.

use std::sync::Arc;

use prometheus::Registry;
use rollup::clock::Clock;
use rollup::period::Granularity;

use crate::access::token::Verifier;
use crate::budget::Budget;
use crate::cache::Cache;
use crate::key_interner::KeyInterners;
use crate::limit::RateLimit;
use crate::metrics::Metrics;
use crate::query::Remembered;
use crate::reader::Reader;
use crate::render::{HELD_BYTES, Rendered};
use crate::settings::{Settings, SettingsError};
use crate::share::Shares;
use crate::shared_snapshot::SharedSnapshot;
use crate::totals::Currency;
use crate::turns::Turns;

/// Questions that are worked on at the same time; the others wait. Each reads one thing after the other.
pub const QUESTIONS_AT_ONCE: u32 = 8;

/// The state that handlers share.
pub(crate) struct App<R: Reader> {
    pub(crate) settings: Settings,
    pub(crate) currency: Currency,
    pub(crate) granularities: Arc<[Granularity]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) snapshots: SharedSnapshot<R>,
    pub(crate) answers: Cache<Rendered>,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) budget: Budget,
    pub(crate) verifier: Verifier,
    pub(crate) rate: Arc<RateLimit>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) metrics: Metrics,
}

impl<R: Reader> App<R> {
    /// Puts together what these settings say.
    pub(crate) fn new(
        settings: Settings,
        reader: R,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, SettingsError> {
        let metrics = Metrics::new(registry)?;
        let currency = settings
            .currency
            .parse()
            .map_err(|()| SettingsError::Currency(settings.currency.clone()))?;
        let bytes = settings.limits.cache_bytes;
        let verifier = Verifier::new(&settings.access)?;
        verifier.register(registry)?;
        Ok(Self {
            currency,
            granularities: settings.granularities.clone().into(),
            clock,
            snapshots: SharedSnapshot::new(reader),
            answers: Cache::new(bytes / 8, metrics.answers.clone()).of_at_most(HELD_BYTES),
            remembered: Arc::new(Remembered {
                states: Cache::new(bytes / 32, metrics.parts.clone()),
                rejected: Cache::new(bytes / 32, metrics.parts.clone()),
                parts: Cache::new(bytes / 16 * 7, metrics.parts.clone()),
                rankings: Cache::new(bytes / 8, metrics.parts.clone()),
                interners: KeyInterners::new(bytes / 4),
            }),
            verifier,
            rate: Arc::new(RateLimit::new(&settings.limits)),
            shares: Shares::new(settings.limits.answers_at_once),
            turns: Turns::new(QUESTIONS_AT_ONCE as usize),
            budget: Budget::new(settings.limits.bytes_under_way),
            metrics,
            settings,
        })
    }
}
