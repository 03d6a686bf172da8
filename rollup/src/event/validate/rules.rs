//! What an event is checked by besides the contract.

/// The ledger's own settings that an event is checked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// ISO 4217 code of the ledger's currency.
    pub currency: String,
    /// Events completed before this instant (ms) are skipped: another ledger has them.
    pub start_at_ms: Option<i64>,
}
