//! Quantities and costs.

use crate::counters::{Counter, Counters};
use crate::decimal::{Decimal, DecimalError, Rounded};
use crate::event::contract::{Kind, MAX_QUANTITY};
use crate::event::raw::{Field, RawEvent};
use crate::event::reason::Reason;
use crate::event::reject::{Reject, shown};
use crate::event::value::Value;
use crate::money;

use super::rules::Rules;
use super::values::{check_text, optional_text, whole};

/// The quantities of an event. Its total is none: that is only checked.
const QUANTITIES: [(Field, Counter); 8] = [
    (Field::InputTokens, Counter::InputTokens),
    (Field::OutputTokens, Counter::OutputTokens),
    (Field::CachedInputTokens, Counter::CachedInputTokens),
    (Field::CacheWriteTokens, Counter::CacheWriteTokens),
    (Field::ReasoningTokens, Counter::ReasoningTokens),
    (Field::AudioMillis, Counter::AudioMillis),
    (Field::Characters, Counter::Characters),
    (Field::Images, Counter::Images),
];

/// What an event adds.
pub(super) struct Usage {
    pub(super) counters: Counters,
    /// Whether its cost had more decimals than are kept.
    pub(super) is_cost_rounded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Completed,
    Failed,
    Aborted,
}

pub(super) fn usage(raw: &mut RawEvent<'_>, kind: Kind, rules: &Rules) -> Result<Usage, Reject> {
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    let outcome = outcome(raw)?;
    match outcome {
        Outcome::Completed => {}
        Outcome::Failed => counters[Counter::FailedRequests] = 1,
        Outcome::Aborted => counters[Counter::AbortedRequests] = 1,
    }
    let mut is_metered = false;
    for (field, counter) in QUANTITIES {
        if let Some(quantity) = quantity(raw, field)? {
            counters[counter] = quantity;
            is_metered = true;
        }
    }
    check_parts(&counters)?;
    counters[Counter::TotalTokens] = counters[Counter::InputTokens] + counters[Counter::OutputTokens];
    check_total(raw, &counters)?;
    let cost = cost(raw, rules)?;
    match cost {
        Some(cost) => counters[Counter::CostNanos] = cost.nanos,
        // What failed before anything was used costs nothing.
        None if outcome == Outcome::Failed && !is_metered => {}
        None => counters[Counter::UnpricedRequests] = 1,
    }
    if outcome == Outcome::Completed && matches!(kind, Kind::Llm | Kind::Embedding) && !is_metered {
        counters[Counter::UnmeteredRequests] = 1;
    }
    Ok(Usage {
        counters,
        is_cost_rounded: cost.is_some_and(|cost| !cost.is_exact),
    })
}

fn outcome(raw: &mut RawEvent<'_>) -> Result<Outcome, Reject> {
    match optional_text(raw, Field::Outcome)?.as_deref() {
        None | Some("completed") => Ok(Outcome::Completed),
        Some("failed") => Ok(Outcome::Failed),
        Some("aborted") => Ok(Outcome::Aborted),
        Some(other) => Err(Reject::field(Reason::InvalidValue, Field::Outcome).text(other)),
    }
}

/// Parts are in the whole: the sum of the input's, and the output's one.
fn check_parts(counters: &Counters) -> Result<(), Reject> {
    let reject = |part: Field, parts: i64, whole: Field, of: i64| {
        let found = match part {
            Field::CacheWriteTokens => format!("and `cachedInputTokens` are {parts}"),
            _ => format!("is {parts}"),
        };
        let found = format_args!("{found}, `{}` is {of}", whole.name());
        Err(Reject::field(Reason::SubsetExceedsTotal, part).found(found))
    };
    let input = counters[Counter::InputTokens];
    let cached = counters[Counter::CachedInputTokens];
    if cached > input {
        return reject(Field::CachedInputTokens, cached, Field::InputTokens, input);
    }
    let both = cached + counters[Counter::CacheWriteTokens];
    if both > input {
        return reject(Field::CacheWriteTokens, both, Field::InputTokens, input);
    }
    let (output, reasoning) = (
        counters[Counter::OutputTokens],
        counters[Counter::ReasoningTokens],
    );
    if reasoning > output {
        return reject(Field::ReasoningTokens, reasoning, Field::OutputTokens, output);
    }
    Ok(())
}

/// A total that contradicts says that input or output is not what this contract means by them.
fn check_total(raw: &mut RawEvent<'_>, counters: &Counters) -> Result<(), Reject> {
    let sum = counters[Counter::TotalTokens];
    match quantity(raw, Field::TotalTokens)? {
        Some(total) if total != sum => {
            let found = format_args!("is {total}, `inputTokens` and `outputTokens` are {sum}");
            Err(Reject::field(Reason::TotalMismatch, Field::TotalTokens).found(found))
        }
        _ => Ok(()),
    }
}

/// An integer between 0 and [`MAX_QUANTITY`]; `None` where nobody knows it.
fn quantity(raw: &mut RawEvent<'_>, field: Field) -> Result<Option<i64>, Reject> {
    let value = raw.take(field);
    match &value {
        Value::Absent => Ok(None),
        Value::Text(text) if text.is_empty() => Ok(None),
        Value::Float(number) if number.is_nan() => Ok(None),
        value => in_range(whole(value, field)?.into(), field, value).map(Some),
    }
}

fn in_range(number: i128, field: Field, value: &Value<'_>) -> Result<i64, Reject> {
    i64::try_from(number)
        .ok()
        .filter(|number| (0..=MAX_QUANTITY).contains(number))
        .ok_or_else(|| Reject::field(Reason::OutOfRange, field).value(value))
}

/// What an event says that it cost.
#[derive(Clone, Copy)]
struct Cost {
    nanos: i64,
    is_exact: bool,
}

/// The cost, or `None` where the event has none: unpriced, which is not zero.
fn cost(raw: &mut RawEvent<'_>, rules: &Rules) -> Result<Option<Cost>, Reject> {
    if let Some(currency) = optional_text(raw, Field::Currency)?
        && currency != rules.currency
    {
        let (found, ours) = (shown(&currency), &rules.currency);
        let found = format_args!("is `{found}`, the ledger's is `{ours}`");
        return Err(Reject::field(Reason::CurrencyMismatch, Field::Currency).found(found));
    }
    let mut stated: Option<(Field, Cost)> = None;
    for (field, read) in [
        (
            Field::Cost,
            units as fn(&Value<'_>) -> Result<Option<Cost>, Reject>,
        ),
        (Field::CostNanos, nanos),
        (Field::CostEstimateCents, cents),
    ] {
        match (read(&raw.take(field))?, &stated) {
            (None, _) => {}
            (Some(cost), None) => stated = Some((field, cost)),
            (Some(_), Some((first, _))) => {
                let found = format_args!("is there, and so is `{}`", field.name());
                return Err(Reject::field(Reason::CostConflict, *first).found(found));
            }
        }
    }
    Ok(stated.map(|(_, cost)| cost))
}

fn units(value: &Value<'_>) -> Result<Option<Cost>, Reject> {
    match value {
        Value::Text(text) if text.is_empty() => Ok(None),
        Value::Text(text) => {
            check_text(text, Field::Cost)?;
            amount(text, money::of_units, Field::Cost, value)
        }
        value => number(value, money::of_units, Field::Cost),
    }
}

fn cents(value: &Value<'_>) -> Result<Option<Cost>, Reject> {
    match value {
        Value::Text(text) if text.is_empty() => Ok(None),
        value => number(value, money::of_cents, Field::CostEstimateCents),
    }
}

fn nanos(value: &Value<'_>) -> Result<Option<Cost>, Reject> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) if text.is_empty() => Ok(None),
        value => {
            let nanos = in_range(whole(value, Field::CostNanos)?.into(), Field::CostNanos, value)?;
            Ok(Some(Cost {
                nanos,
                is_exact: true,
            }))
        }
    }
}

/// In which unit an amount is.
type Unit = fn(&Decimal<'_>) -> Result<Rounded, DecimalError>;

/// An amount as a number, by its decimal form.
fn number(value: &Value<'_>, unit: Unit, field: Field) -> Result<Option<Cost>, Reject> {
    match value {
        Value::Absent => Ok(None),
        Value::Integer(number) => amount(&number.to_string(), unit, field, value),
        // The shortest decimal that reads back as the same double; an infinite one is no decimal.
        Value::Float(number) => amount(&format!("{number:e}"), unit, field, value),
        Value::Decimal(text) => amount(text, unit, field, value),
        _ => Err(Reject::field(Reason::WrongType, field).value(value)),
    }
}

fn amount(text: &str, unit: Unit, field: Field, value: &Value<'_>) -> Result<Option<Cost>, Reject> {
    let reject = |reason| Reject::field(reason, field).value(value);
    let reason = |error| match error {
        DecimalError::Malformed => reject(Reason::InvalidValue),
        DecimalError::OutOfRange => reject(Reason::OutOfRange),
    };
    let amount = Decimal::parse(text).map_err(reason)?;
    if amount.is_negative() {
        return Err(reject(Reason::OutOfRange));
    }
    let rounded = unit(&amount).map_err(reason)?;
    let nanos = in_range(rounded.value, field, value)?;
    Ok(Some(Cost {
        nanos,
        is_exact: rounded.is_exact,
    }))
}
