//! From documents of the server to groups.

use api::reader::{Group, Query, ReadError};
use mongodb::bson::{RawBsonRef, RawDocument};
use rollup::counters::{Counter, Counters};
use rollup::period::Period;

use super::pipeline;

pub(super) fn malformed(what: &str) -> ReadError {
    ReadError::Malformed(format!("a row without {what}"))
}

/// Reads a stored row: the values of these fields, its period where that is wanted, and its counters.
///
/// Every field is looked at once: looking each one up by its name takes longer than all the rest.
pub(super) fn group(row: &RawDocument, fields: &[&str], with_period: bool) -> Result<Group, ReadError> {
    let mut key: Vec<Option<Box<str>>> = vec![None; fields.len()];
    let (mut granularity, mut period) = (None, None);
    let mut counters = Counters::default();
    let mut found = 0;
    for element in row {
        let (name, value) = element.map_err(|error| ReadError::Malformed(error.to_string()))?;
        // Most rows hold the counters in their own order.
        let next = Counter::ALL.get(found).filter(|counter| name == counter.name());
        let counter = next.or_else(|| Counter::ALL.iter().find(|counter| name == counter.name()));
        if let Some(counter) = counter {
            counters[*counter] = number(*counter, value)?;
            found += 1;
            continue;
        }
        let RawBsonRef::String(text) = value else { continue };
        match name.as_str() {
            "granularity" => granularity = Some(text),
            "periodKey" => period = Some(text),
            _ => {}
        }
        if let Some(at) = fields.iter().position(|field| name == *field) {
            key[at] = Some(text.into());
        }
    }
    if found != Counter::ALL.len() {
        return Err(malformed("one of its counters"));
    }
    let key = key.into_iter().zip(fields);
    let key = key.map(|(part, field)| part.ok_or_else(|| malformed(field)));
    let period = match with_period {
        true => Some(self::period(granularity, period)?),
        false => None,
    };
    Ok(Group {
        key: key.collect::<Result<_, _>>()?,
        period,
        counters,
    })
}

/// Reads one group of an aggregation, and how many rows it is made of.
pub(super) fn summed(found: &RawDocument, query: &Query) -> Result<(Group, u64), ReadError> {
    let id = match found.get("_id") {
        Ok(Some(RawBsonRef::Document(id))) => Some(id),
        _ => None,
    };
    let text = |name: &str| id.and_then(|id| id.get_str(name).ok());
    let key = (0..query.group_by.len()).map(|at| {
        let name = pipeline::part(at);
        text(&name).map(Into::into).ok_or_else(|| malformed(&name))
    });
    let period = match query.by_period {
        true => Some(period(text(pipeline::GRANULARITY), text(pipeline::PERIOD))?),
        false => None,
    };
    let mut counters = Counters::default();
    for counter in &query.counters {
        let sum = found.get(counter.name()).ok().flatten();
        counters[*counter] = number(*counter, sum.ok_or_else(|| malformed(counter.name()))?)?;
    }
    let rows = match found.get(pipeline::ROWS) {
        Ok(Some(RawBsonRef::Int32(rows))) => u64::try_from(rows).ok(),
        Ok(Some(RawBsonRef::Int64(rows))) => u64::try_from(rows).ok(),
        _ => None,
    };
    let group = Group {
        key: key.collect::<Result<_, _>>()?,
        period,
        counters,
    };
    Ok((group, rows.ok_or_else(|| malformed("a count of its rows"))?))
}

fn period(granularity: Option<&str>, key: Option<&str>) -> Result<Period, ReadError> {
    let granularity = granularity.and_then(|name| name.parse().ok());
    let granularity = granularity.ok_or_else(|| malformed("a granularity"))?;
    let period = key.and_then(|key| Period::parse(granularity, key));
    period.ok_or_else(|| malformed("a period"))
}

/// A sum of 64-bit counters that outgrew 64 bits comes back as floating point.
fn number(counter: Counter, value: RawBsonRef<'_>) -> Result<i64, ReadError> {
    match value {
        RawBsonRef::Int64(sum) => Ok(sum),
        RawBsonRef::Int32(sum) => Ok(sum.into()),
        RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => Err(ReadError::Overflow(counter)),
        _ => Err(malformed(counter.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Bson, Document, doc, rawdoc};
    use rollup::period::Granularity;

    fn stored() -> Document {
        let mut row = doc! {"_id": "v1/acme/daily/2026-01-05/agent/a", "organizationId": "acme"};
        row.extend(doc! {"granularity": "daily", "periodKey": "2026-01-05", "set": "agent", "value": "a"});
        let counters = (0_i64..).zip(Counter::ALL);
        row.extend(counters.map(|(value, counter)| (counter.name().to_owned(), Bson::Int64(value))));
        row
    }

    fn read(row: &Document) -> Result<Group, ReadError> {
        let row = mongodb::bson::RawDocumentBuf::try_from(row).expect("a document");
        group(&row, &["value"], true)
    }

    #[test]
    fn a_stored_row_is_a_group() {
        let found = read(&stored()).expect("a row");
        assert_eq!(*found.key, ["a".into()]);
        assert_eq!(found.period, Period::parse(Granularity::Daily, "2026-01-05"));
        for (value, counter) in (0_i64..).zip(Counter::ALL) {
            assert_eq!(found.counters[counter], value);
        }
        // In whatever order the fields are.
        let fields: Vec<_> = stored().into_iter().collect();
        let backwards: Document = fields.into_iter().rev().collect();
        assert_eq!(read(&backwards).expect("a row"), found);
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_an_error_and_no_zero() {
        for missing in [
            "value",
            "granularity",
            "periodKey",
            "requests",
            "unpricedRequests",
        ] {
            let mut row = stored();
            row.remove(missing);
            assert!(matches!(read(&row), Err(ReadError::Malformed(_))), "{missing}");
        }
        let mut row = stored();
        row.insert("requests", 1.5);
        assert!(matches!(read(&row), Err(ReadError::Overflow(Counter::Requests))));
        row.insert("requests", "1");
        assert!(matches!(read(&row), Err(ReadError::Malformed(_))));
        assert!(matches!(
            group(&rawdoc! {}, &[], false),
            Err(ReadError::Malformed(_))
        ));
    }
}
