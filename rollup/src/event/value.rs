//! One value of an event, whatever wire format it came in.

use std::borrow::Cow;

use super::reason::Reason;
use crate::decimal::{Decimal, DecimalError, Rounded};

/// One value as it was written, in the types that the wire formats share.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value<'a> {
    /// Not there, or null: the contract makes no difference.
    #[default]
    Absent,
    /// A boolean.
    Bool(bool),
    /// An integer of up to 64 bits.
    Integer(i64),
    /// A double that says what it is in binary.
    Float(f64),
    /// Any other number, as it was written: a decimal.
    Decimal(Cow<'a, str>),
    /// A text.
    Text(Cow<'a, str>),
    /// A BSON date: milliseconds since 1970-01-01T00:00:00Z.
    Date(i64),
    /// A type that no field of the contract has, and what people call it: `an array`, `an object` …
    Other(&'static str),
}

impl<'a> Value<'a> {
    /// The number with this text.
    #[must_use]
    pub fn number(text: Cow<'a, str>) -> Self {
        match text.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Decimal(text),
        }
    }

    /// A decimal number, as databases print it; what is none is a double that is none.
    #[must_use]
    pub fn decimal128(text: Cow<'a, str>) -> Self {
        match text.as_ref() {
            "NaN" => Value::Float(f64::NAN),
            "Infinity" => Value::Float(f64::INFINITY),
            "-Infinity" => Value::Float(f64::NEG_INFINITY),
            _ => Value::number(text),
        }
    }

    /// The same, which nothing borrows.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Absent => Value::Absent,
            Value::Bool(value) => Value::Bool(value),
            Value::Integer(value) => Value::Integer(value),
            Value::Float(value) => Value::Float(value),
            Value::Decimal(text) => Value::Decimal(text.into_owned().into()),
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::Date(millis) => Value::Date(millis),
            Value::Other(kind) => Value::Other(kind),
        }
    }

    /// A number without a fraction: JavaScript writes `7` as the double `7.0`.
    ///
    /// # Errors
    /// When it is another number, or none.
    pub(super) fn whole(&self) -> Result<i64, Reason> {
        /// 2^63, the first whole double that is no `i64`.
        const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
        match self {
            Value::Integer(number) => Ok(*number),
            Value::Float(number) if !number.is_finite() || number.fract() != 0.0 => Err(Reason::InvalidValue),
            Value::Float(number) if number.abs() >= TOO_LARGE => Err(Reason::OutOfRange),
            #[allow(
                clippy::cast_possible_truncation,
                reason = "whole and within the range of `i64`"
            )]
            Value::Float(number) => Ok(*number as i64),
            Value::Decimal(text) => match Decimal::parse(text).and_then(|number| number.scaled(0)) {
                Ok(Rounded { is_exact: false, .. }) | Err(DecimalError::Malformed) => {
                    Err(Reason::InvalidValue)
                }
                Ok(number) => i64::try_from(number.value).map_err(|_| Reason::OutOfRange),
                Err(DecimalError::OutOfRange) => Err(Reason::OutOfRange),
            },
            _ => Err(Reason::WrongType),
        }
    }
}
