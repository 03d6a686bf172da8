//! The order in which MongoDB keeps `_id`s of different types: "Comparison/Sort Order" of its manual.

use std::cmp::Ordering;

use bson::Bson;

/// Compares two `_id`s as the server's `_id` index does.
pub(super) fn compare(one: &Bson, other: &Bson) -> Ordering {
    rank(one).cmp(&rank(other)).then_with(|| match (one, other) {
        (Bson::String(a) | Bson::Symbol(a), Bson::String(b) | Bson::Symbol(b)) => {
            a.as_bytes().cmp(b.as_bytes())
        }
        (Bson::Document(a), Bson::Document(b)) => documents(a, b),
        (Bson::Array(a), Bson::Array(b)) => a
            .iter()
            .zip(b)
            .map(|(a, b)| compare(a, b))
            .find(|order| order.is_ne())
            .unwrap_or(a.len().cmp(&b.len())),
        (Bson::Binary(a), Bson::Binary(b)) => {
            let subtype = |binary: &bson::Binary| u8::from(binary.subtype);
            a.bytes
                .len()
                .cmp(&b.bytes.len())
                .then(subtype(a).cmp(&subtype(b)))
                .then_with(|| a.bytes.cmp(&b.bytes))
        }
        (Bson::ObjectId(a), Bson::ObjectId(b)) => a.bytes().cmp(&b.bytes()),
        (Bson::Boolean(a), Bson::Boolean(b)) => a.cmp(b),
        (Bson::DateTime(a), Bson::DateTime(b)) => a.cmp(b),
        (Bson::Timestamp(a), Bson::Timestamp(b)) => (a.time, a.increment).cmp(&(b.time, b.increment)),
        (Bson::JavaScriptCode(a), Bson::JavaScriptCode(b)) => a.cmp(b),
        (a, b) => numbers(a, b),
    })
}

/// The place of a value's type among all types. Numbers of every type are one, and so are texts.
pub(super) fn rank(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Undefined => 1,
        Bson::Null => 2,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 3,
        Bson::String(_) | Bson::Symbol(_) => 4,
        Bson::Document(_) => 5,
        Bson::Array(_) => 6,
        Bson::Binary(_) => 7,
        Bson::ObjectId(_) => 8,
        Bson::Boolean(_) => 9,
        Bson::DateTime(_) => 10,
        Bson::Timestamp(_) => 11,
        Bson::RegularExpression(_) => 12,
        Bson::DbPointer(_) => 13,
        Bson::JavaScriptCode(_) => 14,
        Bson::JavaScriptCodeWithScope(_) => 15,
        Bson::MaxKey => 16,
    }
}

/// Field by field: type, then name, then value; the shorter one first.
fn documents(one: &bson::Document, other: &bson::Document) -> Ordering {
    one.iter()
        .zip(other)
        .map(|((a_name, a), (b_name, b))| {
            rank(a)
                .cmp(&rank(b))
                .then_with(|| a_name.as_bytes().cmp(b_name.as_bytes()))
                .then_with(|| compare(a, b))
        })
        .find(|order| order.is_ne())
        .unwrap_or(one.len().cmp(&other.len()))
}

fn numbers(one: &Bson, other: &Bson) -> Ordering {
    match (Number::of(one), Number::of(other)) {
        (Some(a), Some(b)) => a.cmp(&b),
        // Types without an order of their own here (regular expressions, pointers) cannot be an `_id`.
        _ => Ordering::Equal,
    }
}

/// A number of any BSON type, exactly: sign, digits before the point without leading zeros, and digits
/// behind it without trailing ones.
#[derive(Debug, PartialEq, Eq)]
enum Number {
    Nan,
    Infinite {
        negative: bool,
    },
    Finite {
        negative: bool,
        whole: String,
        fraction: String,
    },
}

impl Number {
    fn of(value: &Bson) -> Option<Self> {
        match value {
            Bson::Int32(number) => Some(Self::decimal(&number.to_string())),
            Bson::Int64(number) => Some(Self::decimal(&number.to_string())),
            // The exact decimal expansion of a double has at most 1,074 digits behind the point.
            Bson::Double(number) if number.is_finite() => Some(Self::decimal(&format!("{number:.1074}"))),
            Bson::Double(number) => Some(Self::decimal(&number.to_string())),
            Bson::Decimal128(number) => Some(Self::decimal(&number.to_string())),
            _ => None,
        }
    }

    fn decimal(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if text.eq_ignore_ascii_case("nan") {
            return Number::Nan;
        }
        if text.starts_with(['I', 'i']) {
            return Number::Infinite { negative };
        }
        let (mantissa, exponent) = text.split_once(['E', 'e']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let point = i32::try_from(whole.len())
            .unwrap_or(i32::MAX)
            .saturating_add(exponent);
        let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
        let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
        let padded = format!("{}{digits}{}", zeros(-point), zeros(point - length));
        let (whole, fraction) = padded.split_at(usize::try_from(point.max(0)).unwrap_or(0));
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let negative = negative && !(whole.is_empty() && fraction.is_empty());
        Number::Finite {
            negative,
            whole,
            fraction,
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        /// NaN first, then from minus to plus infinity.
        fn class(number: &Number) -> u8 {
            match number {
                Number::Nan => 0,
                Number::Infinite { negative: true } => 1,
                Number::Finite { negative: true, .. } => 2,
                Number::Finite { negative: false, .. } => 3,
                Number::Infinite { negative: false } => 4,
            }
        }
        class(self).cmp(&class(other)).then_with(|| match (self, other) {
            (
                Number::Finite {
                    negative,
                    whole,
                    fraction,
                },
                Number::Finite {
                    whole: other_whole,
                    fraction: other_fraction,
                    ..
                },
            ) => {
                let magnitude = whole
                    .len()
                    .cmp(&other_whole.len())
                    .then_with(|| whole.cmp(other_whole))
                    .then_with(|| fraction.cmp(other_fraction));
                if *negative { magnitude.reverse() } else { magnitude }
            }
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, Timestamp, doc, oid::ObjectId};
    use proptest::prelude::*;

    fn decimal(text: &str) -> Bson {
        Bson::Decimal128(text.parse().expect(text))
    }

    #[test]
    fn types_and_values_are_in_the_servers_order() {
        let id = ObjectId::from_bytes([1; 12]);
        let sorted = [
            Bson::MinKey,
            Bson::Null,
            Bson::Double(f64::NAN),
            Bson::Double(f64::NEG_INFINITY),
            Bson::Int64(i64::MIN),
            decimal("-1.5"),
            Bson::Int32(-1),
            Bson::Int32(0),
            decimal("1E-3"),
            Bson::Double(0.1),
            Bson::Int32(2),
            Bson::Double(2.5),
            decimal("2.51"),
            decimal("1E+3"),
            Bson::Int64(9_007_199_254_740_993),
            Bson::Double(9_007_199_254_740_994.0),
            Bson::Int64(i64::MAX),
            Bson::Double(9_223_372_036_854_775_808.0),
            Bson::Double(f64::INFINITY),
            Bson::String(String::new()),
            Bson::String("B".into()),
            Bson::String("a".into()),
            Bson::String("ä".into()),
            Bson::Document(doc! {}),
            Bson::Document(doc! {"a": 1}),
            Bson::Document(doc! {"b": 1}),
            Bson::Document(doc! {"b": 1, "c": 0}),
            Bson::Document(doc! {"a": "x"}),
            Bson::Binary(bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: vec![9],
            }),
            Bson::Binary(bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: vec![1, 1],
            }),
            Bson::ObjectId(id),
            Bson::Boolean(false),
            Bson::Boolean(true),
            Bson::DateTime(DateTime::from_millis(-1)),
            Bson::DateTime(DateTime::from_millis(1)),
            Bson::Timestamp(Timestamp {
                time: 1,
                increment: 2,
            }),
            Bson::MaxKey,
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
        assert_eq!(compare(&Bson::Int32(1), &Bson::Double(1.0)), Ordering::Equal);
        assert_eq!(compare(&decimal("10E-1"), &Bson::Int64(1)), Ordering::Equal);
        assert_eq!(compare(&Bson::Double(-0.0), &Bson::Int32(0)), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn doubles_and_integers_are_ordered_as_numbers(a in any::<i32>(), b in any::<f64>()) {
            let expected = f64::from(a).partial_cmp(&b).unwrap_or(Ordering::Greater);
            prop_assert_eq!(compare(&Bson::Int32(a), &Bson::Double(b)), expected);
        }
    }
}
