//! Decimal numbers in every form that programs write: `12`, `12.50`, `.5`, `1.`, `7.5e-05`, `1E+3`.
//!
//! A number is never expanded: `1e999999999` takes as much memory as its text.

/// Digits of the largest result: any number of so many fits 128 bits.
const MAX_DIGITS: i64 = 38;
/// Where exponents end: nothing is told apart beyond.
const MAX_EXPONENT: i64 = 1 << 40;

/// The parts of a decimal number's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

/// A decimal number as an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounded {
    /// The nearest integer; of two, the even one.
    pub value: i128,
    /// Whether that is the number itself.
    pub is_exact: bool,
}

/// Why a text is no number that is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// It is not of a form that is read here.
    #[error("expected a decimal number with a point, such as `12.50` or `7.5e-05`")]
    Malformed,
    /// It has more digits than any number of use.
    #[error("the number is out of range")]
    OutOfRange,
}

impl<'a> Decimal<'a> {
    /// Reads a number.
    ///
    /// # Errors
    /// When the text is no decimal number.
    pub fn parse(text: &'a str) -> Result<Self, DecimalError> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, read_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
            return Err(DecimalError::Malformed);
        }
        Ok(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    /// The digits, without the zeros before the first other one.
    fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        let digits = self.whole.bytes().chain(self.fraction.bytes());
        digits.map(|digit| digit - b'0').skip_while(|digit| *digit == 0)
    }

    /// Whether it is less than nothing, by however little.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative && self.digits().next().is_some()
    }

    /// The number times `10^exponent`, rounded once, half to even.
    ///
    /// # Errors
    /// When the result has more than 38 digits.
    pub fn scaled(&self, exponent: u32) -> Result<Rounded, DecimalError> {
        let length = |digits: usize| i64::try_from(digits).unwrap_or(MAX_EXPONENT);
        let count = length(self.digits().count());
        // How many digits are left of the point, once that is moved: fewer than none where zeros follow it.
        let kept = count - length(self.fraction.len()) + self.exponent + i64::from(exponent);
        if count == 0 || kept < 0 {
            return Ok(Rounded {
                value: 0,
                is_exact: count == 0,
            });
        }
        if kept > MAX_DIGITS {
            return Err(DecimalError::OutOfRange);
        }
        let mut digits = self.digits();
        let mut magnitude: i128 = 0;
        for _ in 0..kept {
            magnitude = magnitude * 10 + i128::from(digits.next().unwrap_or(0));
        }
        let first = digits.next().unwrap_or(0);
        let more = digits.any(|digit| digit != 0);
        let rounds_up = match first {
            5 => more || magnitude % 2 == 1,
            first => first > 5,
        };
        magnitude += i128::from(rounds_up);
        Ok(Rounded {
            value: if self.negative { -magnitude } else { magnitude },
            is_exact: first == 0 && !more,
        })
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_exponent(text: &str) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    if digits.is_empty() || !is_digits(digits) {
        return Err(DecimalError::Malformed);
    }
    let add = |exponent: i64, digit: u8| (exponent * 10 + i64::from(digit - b'0')).min(MAX_EXPONENT);
    let exponent = digits.bytes().fold(0, add);
    Ok(if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    fn scaled(text: &str, exponent: u32) -> Result<(i128, bool), DecimalError> {
        let rounded = Decimal::parse(text)?.scaled(exponent)?;
        Ok((rounded.value, rounded.is_exact))
    }

    /// Lesson L23: decimals are read in every form that languages print.
    #[test]
    fn l23_every_form_that_languages_print_is_read() {
        for (text, nanos) in [
            ("12", 12_000_000_000),
            ("12.50", 12_500_000_000),
            ("007", 7_000_000_000),
            ("0.000000001", 1),
            ("-1.5", -1_500_000_000),
            ("7.5e-05", 75_000),
            ("7.5E-7", 750),
            ("0E-9", 0),
            ("1e+3", 1_000_000_000_000),
            ("1E3", 1_000_000_000_000),
            ("1.", 1_000_000_000),
            (".5", 500_000_000),
            ("0.1000000000000000", 100_000_000),
            ("1000000000e-18", 1),
            ("-0.0", 0),
            ("0e999999999999999999999", 0),
        ] {
            assert_eq!(scaled(text, 9), Ok((nanos, true)), "{text}");
        }
        for text in [
            "", ".", "-", "e5", ".e5", "+1", "1,5", " 1", "1 ", "--1", "1.2.3", "1e", "1e+", "1e1.5",
            "1e5e5", "NaN", "inf", "0x1f", "1_000", "٣", "1é",
        ] {
            assert_eq!(scaled(text, 9), Err(DecimalError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn what_is_between_two_integers_is_rounded_once_and_half_to_even() {
        for (text, nanos) in [
            ("0.0000000004", 0),
            ("0.0000000005", 0),
            ("0.00000000050000000000000000001", 1),
            ("0.0000000015", 2),
            ("0.0000000025", 2),
            ("-0.0000000015", -2),
            ("5e-10", 0),
            ("15e-10", 2),
            // Rounded twice it would be 2.
            ("0.00000000149999999999999999999999", 1),
            ("1e-999999999", 0),
            ("1e-99999999999999999999999999", 0),
        ] {
            assert_eq!(scaled(text, 9), Ok((nanos, false)), "{text}");
        }
    }

    #[test]
    fn no_number_takes_more_than_its_text() {
        for text in ["1e999999999", "1e99999999999999999999999999", &"9".repeat(40)] {
            assert_eq!(scaled(text, 9), Err(DecimalError::OutOfRange), "{text}");
        }
        let long = format!("0.{}1e200001", "0".repeat(200_000));
        assert_eq!(scaled(&long, 0), Ok((1, true)));
        assert_eq!(scaled(&"0".repeat(200_000), 9), Ok((0, true)));
    }

    #[test]
    fn less_than_nothing_is_negative_by_however_little() {
        let is_negative = |text| Decimal::parse(text).expect("a number").is_negative();
        assert!(is_negative("-1e-999999999") && is_negative("-0.5") && is_negative("-3"));
        assert!(!is_negative("-0") && !is_negative("-0.00e5") && !is_negative("0") && !is_negative("1"));
    }

    /// The same by the rules of arithmetic: the number as a fraction of two big integers.
    fn oracle(negative: bool, whole: &str, fraction: &str, exponent: i32, scale: u32) -> (BigInt, bool) {
        let digits: BigInt = format!("0{whole}{fraction}").parse().expect("digits");
        let shift =
            exponent + i32::try_from(scale).expect("small") - i32::try_from(fraction.len()).expect("small");
        let power = BigInt::from(10).pow(shift.unsigned_abs());
        let (numerator, denominator) = match shift < 0 {
            true => (digits, power),
            false => (digits * power, BigInt::from(1)),
        };
        let (quotient, rest) = (&numerator / &denominator, &numerator % &denominator);
        let twice = &rest * 2;
        let is_odd = &quotient % 2 == BigInt::from(1);
        let up = twice > denominator || (twice == denominator && is_odd);
        let magnitude = quotient + i32::from(up);
        let is_exact = rest == BigInt::from(0);
        (if negative { -magnitude } else { magnitude }, is_exact)
    }

    proptest! {
        #[test]
        fn numbers_are_what_arithmetic_says(
            negative: bool,
            whole in "[0-9]{0,20}",
            fraction in "[0-9]{1,30}|[0-9]{0,9}50{0,9}",
            exponent in prop_oneof![Just(0), -45_i32..45],
            capital: bool,
            scale in prop_oneof![Just(0_u32), Just(7), Just(9)],
        ) {
            prop_assume!(!whole.is_empty() || !fraction.is_empty());
            let sign = if negative { "-" } else { "" };
            let e = if capital { 'E' } else { 'e' };
            let text = format!("{sign}{whole}.{fraction}{e}{exponent:+03}");
            let (expected, is_exact) = oracle(negative, &whole, &fraction, exponent, scale);
            let expected_digits = expected.magnitude().to_string().len();
            match scaled(&text, scale) {
                Ok((value, exactly)) => prop_assert_eq!((BigInt::from(value), exactly), (expected, is_exact)),
                Err(error) => {
                    prop_assert_eq!(error, DecimalError::OutOfRange);
                    prop_assert!(expected_digits > 38, "{} has {} digits", text, expected_digits);
                }
            }
        }

        /// Rust's own shortest form of a double, and its nearest integer.
        #[test]
        fn doubles_read_back(double in -1e9_f64..1e9) {
            let text = format!("{double:e}");
            let plain = format!("{double}");
            prop_assert_eq!(scaled(&text, 9), scaled(&plain, 9));
        }

        #[test]
        fn any_text_is_a_number_or_none(text in "[-+.eE0-9,]{0,12}") {
            let digits = text.chars().filter(char::is_ascii_digit).count();
            prop_assert!(scaled(&text, 9).is_err() || digits > 0, "{}", text);
        }
    }
}
