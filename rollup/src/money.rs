//! Amounts of money as integer nano-units (1e-9) of a currency: no float ever holds an amount.

use std::fmt;

/// Nano-units in one unit of the currency.
pub const NANOS_PER_UNIT: i128 = 1_000_000_000;

/// Nano-units in one hundredth of the currency.
const NANOS_PER_CENT_EXPONENT: u32 = 7;

/// An amount in nano-units (1e-9) of the ledger's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub i128);

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not of the form `12`, `12.5` or `-12.5`.
    #[error("expected a decimal number such as `0.012345678`")]
    Malformed,
    /// More than nine decimals.
    #[error("expected at most 9 decimals")]
    TooPrecise,
    /// More digits than any amount has.
    #[error("the amount is out of range")]
    OutOfRange,
}

impl Nanos {
    /// Reads a decimal amount in units of the currency with at most nine decimals, exactly.
    ///
    /// # Errors
    /// When the text is no decimal number, has more than nine decimals, or more digits than fit.
    pub fn parse_units(text: &str) -> Result<Self, AmountError> {
        let decimal = Decimal::parse(text)?;
        if decimal.fraction.len() > 9 {
            return Err(AmountError::TooPrecise);
        }
        decimal.scaled(9).map(Nanos)
    }

    /// Reads a decimal amount in hundredths of the currency. Up to seven decimals are exact, more are
    /// rounded half to even: the field is an estimate.
    ///
    /// # Errors
    /// When the text is no decimal number, or has more digits than fit.
    pub fn parse_cents(text: &str) -> Result<Self, AmountError> {
        Decimal::parse(text)?.scaled(NANOS_PER_CENT_EXPONENT).map(Nanos)
    }
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

/// The parts of a decimal number's text.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Result<Self, AmountError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(AmountError::Malformed),
            None => (digits, ""),
        };
        let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !numeric(whole) || !numeric(fraction) {
            return Err(AmountError::Malformed);
        }
        Ok(Self {
            negative,
            whole,
            fraction,
        })
    }

    /// The number times `10^exponent`, rounded half to even.
    fn scaled(&self, exponent: u32) -> Result<i128, AmountError> {
        let kept = self.fraction.len().min(exponent as usize);
        let (exact, rest) = self.fraction.split_at(kept);
        let mut value: i128 = 0;
        let padding = std::iter::repeat_n(b'0', exponent as usize - kept);
        for digit in self.whole.bytes().chain(exact.bytes()).chain(padding) {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(i128::from(digit - b'0')))
                .ok_or(AmountError::OutOfRange)?;
        }
        let rounds_up = match rest.as_bytes() {
            [] | [b'0'..=b'4', ..] => false,
            [b'5', tail @ ..] if tail.iter().all(|digit| *digit == b'0') => value % 2 == 1,
            _ => true,
        };
        let magnitude = value + i128::from(rounds_up);
        Ok(if self.negative { -magnitude } else { magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_strings_are_exact_to_nine_places() {
        assert_eq!(Nanos::parse_units("0.000000001"), Ok(Nanos(1)));
        assert_eq!(Nanos::parse_units("12.345678901"), Ok(Nanos(12_345_678_901)));
        assert_eq!(Nanos::parse_units("-1.5"), Ok(Nanos(-1_500_000_000)));
        assert_eq!(Nanos::parse_units("007"), Ok(Nanos(7_000_000_000)));
        assert_eq!(Nanos::parse_units("0.0000000001"), Err(AmountError::TooPrecise));
        for text in [
            "", ".", "1.", ".5", "+1", "1e3", "1,5", " 1", "--1", "1.2.3", "NaN", "٣",
        ] {
            assert_eq!(Nanos::parse_units(text), Err(AmountError::Malformed), "{text:?}");
        }
        assert_eq!(Nanos::parse_units(&"9".repeat(40)), Err(AmountError::OutOfRange));
    }

    #[test]
    fn cents_with_four_decimals_are_exact_and_longer_ones_round_half_to_even() {
        assert_eq!(Nanos::parse_cents("0.0001"), Ok(Nanos(1_000)));
        assert_eq!(Nanos::parse_cents("12.3456"), Ok(Nanos(123_456_000)));
        assert_eq!(Nanos::parse_cents("0.6619999999999999"), Ok(Nanos(6_620_000)));
        assert_eq!(Nanos::parse_cents("0.00000005"), Ok(Nanos(0)));
        assert_eq!(Nanos::parse_cents("0.00000015"), Ok(Nanos(2)));
        assert_eq!(Nanos::parse_cents("0.000000050000001"), Ok(Nanos(1)));
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
            prop_assert_eq!(Nanos::parse_units(&Nanos(nanos).to_string()), Ok(Nanos(nanos)));
        }
    }
}
