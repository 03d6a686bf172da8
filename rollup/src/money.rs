//! Amounts of money as integer nano-units (1e-9) of a currency: no float ever holds an amount.

use std::fmt;

use crate::decimal::{Decimal, DecimalError, Rounded};

/// Nano-units in one unit of the currency.
pub const NANOS_PER_UNIT: i128 = 1_000_000_000;

/// A unit of the currency is `10^9` nano-units.
const UNIT_EXPONENT: u32 = 9;
/// A hundredth of it is `10^7`.
const CENT_EXPONENT: u32 = 7;

/// An amount in nano-units (1e-9) of the ledger's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub i128);

/// The nano-units of an amount in units of the currency, rounded once, half to even.
///
/// # Errors
/// When it has more digits than fit.
pub fn of_units(amount: &Decimal<'_>) -> Result<Rounded, DecimalError> {
    amount.scaled(UNIT_EXPONENT)
}

/// The nano-units of an amount in hundredths of the currency, rounded once, half to even.
///
/// # Errors
/// When it has more digits than fit.
pub fn of_cents(amount: &Decimal<'_>) -> Result<Rounded, DecimalError> {
    amount.scaled(CENT_EXPONENT)
}

/// Always nine decimals, so that amounts line up and compare as texts: `12.345678901`.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let unit = NANOS_PER_UNIT.unsigned_abs();
        write!(f, "{sign}{}.{:09}", magnitude / unit, magnitude % unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units(text: &str) -> Rounded {
        of_units(&Decimal::parse(text).expect("a number")).expect("fits")
    }

    fn cents(text: &str) -> Rounded {
        of_cents(&Decimal::parse(text).expect("a number")).expect("fits")
    }

    #[test]
    fn nine_decimals_of_a_unit_and_seven_of_a_cent_are_exact() {
        let exact = |value| Rounded {
            value,
            is_exact: true,
        };
        let rounded = |value| Rounded {
            value,
            is_exact: false,
        };
        assert_eq!(units("12.345678901"), exact(12_345_678_901));
        assert_eq!(units("0.0000000001"), rounded(0));
        assert_eq!(cents("0.0001"), exact(1_000));
        assert_eq!(cents("12.3456"), exact(123_456_000));
        assert_eq!(cents("0.6619999999999999"), rounded(6_620_000));
        assert_eq!(cents("0.00000015"), rounded(2));
    }

    #[test]
    fn printing_always_shows_nine_decimals() {
        assert_eq!(Nanos(12_345_678_901).to_string(), "12.345678901");
        assert_eq!(Nanos(-1).to_string(), "-0.000000001");
        assert_eq!(Nanos(0).to_string(), "0.000000000");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos in -1_000_000_000_000_000_000_000_i128..1_000_000_000_000_000_000_000) {
            prop_assert_eq!(units(&Nanos(nanos).to_string()), Rounded { value: nanos, is_exact: true });
        }
    }
}
