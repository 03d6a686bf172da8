//! Counters as they are shown.

use std::fmt;
use std::str::FromStr;

use rollup::counters::{Counter, Counters, Overflow, Sums};
use rollup::money::Nanos;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// An ISO 4217 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Currency([u8; 3]);

impl Currency {
    pub(crate) fn as_str(&self) -> &str {
        // Three ASCII letters, by construction.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| ())?;
        code.iter()
            .all(u8::is_ascii_uppercase)
            .then_some(Self(code))
            .ok_or(())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An amount in nano-units, printed with nine decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amount(pub(crate) i64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Nanos(i128::from(self.0)).fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Money {
    /// A decimal number with nine decimals.
    #[schema(value_type = String, pattern = r"^-?[0-9]+\.[0-9]{9}$", examples("12.345678901"))]
    amount: Amount,
    /// The ledger's currency, ISO 4217.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", examples("USD"))]
    currency: Currency,
}

/// Every counter under its name, with money in place of nano-units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    counters: Counters,
    currency: Currency,
}

impl Totals {
    /// Narrows sums to what is shown.
    pub(crate) fn of(sums: &Sums, currency: Currency) -> Result<Self, Overflow> {
        Ok(Self {
            counters: sums.narrow()?,
            currency,
        })
    }

    pub(crate) fn get(&self, counter: Counter) -> i64 {
        self.counters[counter]
    }

    pub(crate) const fn currency(&self) -> Currency {
        self.currency
    }

    /// What it cost. Nobody knows where there are requests and all of them are unpriced.
    pub(crate) fn cost(&self) -> Option<Money> {
        self.money(Counter::CostNanos)
    }

    /// What of that the ledger's own prices say.
    pub(crate) fn priced_cost(&self) -> Option<Money> {
        self.money(Counter::PricedNanos)
    }

    /// A counter of nano-units as money: known where the cost is.
    fn money(&self, counter: Counter) -> Option<Money> {
        let requests = self.get(Counter::Requests);
        let is_unpriced = requests > 0 && self.get(Counter::UnpricedRequests) >= requests;
        let is_known = !is_unpriced || self.get(Counter::CostNanos) != 0;
        is_known.then_some(Money {
            amount: Amount(self.get(counter)),
            currency: self.currency,
        })
    }

    /// A counter as it is shown.
    pub(crate) fn figure(&self, counter: Counter) -> Figure {
        match is_money(counter) {
            true => Figure::Money(self.money(counter)),
            false => Figure::Count(self.get(counter)),
        }
    }
}

/// What a counter is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Figure {
    Count(i64),
    Money(Option<Money>),
}

impl Money {
    pub(crate) fn amount(self) -> Amount {
        self.amount
    }
}

/// The name under which a counter is shown.
pub(crate) const fn shown_name(counter: Counter) -> &'static str {
    match counter {
        Counter::CostNanos => "cost",
        Counter::PricedNanos => "pricedCost",
        counter => counter.name(),
    }
}

/// Whether a counter counts nano-units of the currency.
const fn is_money(counter: Counter) -> bool {
    matches!(counter, Counter::CostNanos | Counter::PricedNanos)
}

impl Serialize for Totals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let figures = Counter::ALL.map(|counter| (shown_name(counter), self.figure(counter)));
        serializer.collect_map(figures)
    }
}

impl PartialSchema for Totals {
    fn schema() -> RefOr<Schema> {
        let mut object = ObjectBuilder::new().schema_type(Type::Object);
        for counter in Counter::ALL {
            let name = shown_name(counter);
            object = match is_money(counter) {
                true => object.property(name, nullable_money()),
                false => object.property(
                    name,
                    ObjectBuilder::new()
                        .schema_type(Type::Integer)
                        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64))),
                ),
            };
            object = object.required(name);
        }
        object.description(Some("Exact sums of every counter.")).into()
    }
}

/// Money, or null where nobody knows it.
pub(crate) fn nullable_money() -> RefOr<Schema> {
    utoipa::openapi::OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(Ref::from_schema_name(Money::name()))
        .description(Some("null where there are requests and all of them are unpriced"))
        .into()
}

impl ToSchema for Totals {
    fn name() -> std::borrow::Cow<'static, str> {
        "Totals".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Money::name().into_owned(), Money::schema()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(set: &[(Counter, i128)]) -> Value {
        let mut sums = Sums::default();
        for (counter, value) in set {
            sums[*counter] = *value;
        }
        let usd = "USD".parse().expect("a currency");
        serde_json::to_value(Totals::of(&sums, usd).expect("fits")).expect("json")
    }

    #[test]
    fn every_counter_is_there_and_cost_is_money() {
        let totals = shown(&[(Counter::Requests, 2), (Counter::CostNanos, 12_345_678_901)]);
        let keys: Vec<_> = totals.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(keys.len(), Counter::ALL.len());
        assert_eq!(
            totals["cost"],
            json!({"amount": "12.345678901", "currency": "USD"})
        );
        assert_eq!(
            totals["pricedCost"],
            json!({"amount": "0.000000000", "currency": "USD"})
        );
        assert_eq!((totals.get("costNanos"), totals.get("pricedNanos")), (None, None));
        assert_eq!(totals["requests"], json!(2));
    }

    #[test]
    fn an_unknown_cost_is_null_and_a_known_zero_is_zero() {
        let zero = json!({"amount": "0.000000000", "currency": "USD"});
        let totals = |requests, unpriced, nanos| {
            shown(&[
                (Counter::Requests, requests),
                (Counter::UnpricedRequests, unpriced),
                (Counter::CostNanos, nanos),
            ])
        };
        let unpriced = |requests, unpriced, nanos| totals(requests, unpriced, nanos)["cost"].clone();
        assert_eq!(unpriced(0, 0, 0), zero);
        assert_eq!(unpriced(3, 2, 0), zero);
        assert_eq!(unpriced(3, 3, 0), Value::Null);
        // A part of what nobody knows.
        assert_eq!(totals(3, 3, 0)["pricedCost"], Value::Null);
        assert_eq!(totals(3, 2, 0)["pricedCost"], zero);
        assert_eq!(unpriced(3, 3, 5)["amount"], json!("0.000000005"));
    }

    #[test]
    fn a_sum_beyond_64_bits_is_an_error_and_not_a_number() {
        let mut sums = Sums::default();
        sums[Counter::InputTokens] = i128::from(i64::MAX) + 1;
        let usd = "USD".parse().expect("a currency");
        assert_eq!(Totals::of(&sums, usd), Err(Overflow(Counter::InputTokens)));
    }
}
