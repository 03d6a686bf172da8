//! The checks of every query string, cursor and token that a fuzzer thinks of, besides that none makes the reader panic.

mod given;
mod token;

use std::fmt::Write as _;

use chrono::DateTime;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rollup::period::Calendar;

use crate::access::{Caller, Grant, Person, Role};
use crate::cursor::{self, Fingerprint};
use crate::parameter::Parameters;
use crate::problem::Problem;
use crate::question::{Days, filters};
use crate::ranking::Position;
use crate::route::{Common, Route};
use crate::routes::{breakdown, meta, series, summary, table};
use crate::settings::Limits;

use self::given::{NOW_SECONDS, base64, printable};
pub use self::token::token;

/// The organization of the caller that the fuzzer plays.
const MINE: &str = "mine";
/// Another one, to which the caller belongs, and no more.
const THEIRS: &str = "theirs";

/// The path and the query of a request: a question means the same however it is written, and nobody gets a grant
/// for what is not theirs.
pub fn query(bytes: &[u8]) {
    let Some((path, query)) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split_once('?'))
    else {
        return;
    };
    match path {
        summary::Summary::PATH => asked::<summary::Summary>(query),
        series::Series::PATH => asked::<series::Series>(query),
        breakdown::Breakdown::PATH => asked::<breakdown::Breakdown>(query),
        table::Table::PATH => asked::<table::Table>(query),
        summary::Me::PATH => asked::<summary::Me>(query),
        meta::Meta::PATH => asked::<meta::Meta>(query),
        _ => {}
    }
}

/// The text of a cursor, or the object in it: what is read back is what was written, and for its own question
/// only.
pub fn cursor(bytes: &[u8]) {
    let text = if bytes.starts_with(b"{") {
        base64(bytes)
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    };
    let (question, other) = (Fingerprint::of("one"), Fingerprint::of("other"));
    for parts in 0..=3 {
        let Ok(position) = cursor::decode(question, parts, &text) else {
            continue;
        };
        assert_eq!(position.key.len(), parts);
        assert!(
            cursor::decode(other, parts, &text).is_err(),
            "of another question: {text}"
        );
        assert!(
            cursor::decode(question, parts + 1, &text).is_err(),
            "of other groups: {text}"
        );
        reads_back(question, &position);
    }
    if let Some((numbers, names)) = bytes.split_at_checked(16) {
        let number = |at: usize| i64::from_le_bytes(std::array::from_fn(|index| numbers[at + index]));
        let names = String::from_utf8_lossy(names);
        reads_back(
            question,
            &Position {
                metric: number(0),
                tokens: number(8),
                key: names.split('\n').map(Box::from).collect(),
            },
        );
    }
}

fn reads_back(question: Fingerprint, position: &Position) {
    let text = cursor::encode(question, position).expect("text");
    let read = cursor::decode(question, position.key.len(), &text);
    assert_eq!(read.as_ref(), Ok(position), "{text}");
}

fn asked<Q: Route>(query: &str) {
    let callers = [
        (true, person(Role::Admin)),
        (true, person(Role::Member)),
        (false, Caller::Anybody),
    ];
    for (is_bound, caller) in callers {
        let read = read::<Q>(&caller, query);
        let (parameters, common) = match &read {
            Ok(read) => read,
            Err(problem) => {
                assert_eq!(Some(problem), self::read::<Q>(&caller, query).err().as_ref());
                printable(problem);
                continue;
            }
        };
        if is_bound {
            let own = match &common.grant {
                Grant::Organization(organization) => organization == MINE,
                Grant::Own { organization, .. } => [MINE, THEIRS].contains(&organization.as_str()),
                Grant::Several(organizations) => organizations == &[MINE],
                Grant::Everybody => false,
            };
            assert!(own, "{:?} for {query}", common.grant);
        }
        assert!(common.days.range.from <= common.days.range.to, "{query}");
        let printed = printed::<Q>(parameters);
        let (again, same) = self::read::<Q>(&caller, &printed).expect(&printed);
        assert_eq!(self::printed::<Q>(&again), printed);
        assert_eq!(format!("{same:?}"), format!("{common:?}"), "{printed}");
    }
}

/// What an answer does with a query before it reads anything.
fn read<Q: Route>(caller: &Caller, query: &str) -> Result<(Parameters, Common), Problem> {
    let parameters = Parameters::parse(Some(query), Q::PARAMETERS)?;
    let grant = caller.grant(Q::rule(&parameters), parameters.one("organizationId"))?;
    let now = DateTime::from_timestamp(NOW_SECONDS, 0).expect("an instant");
    let mut common = Common {
        grant,
        is_staff: caller.is_staff(),
        days: Days::parse(&parameters, &Calendar::UTC, Calendar::UTC.day_of(now))?,
        filters: filters(&parameters),
        currency: "USD".parse().expect("a currency"),
        limits: Limits::default(),
        excluded: Vec::new(),
    };
    Q::parse(&parameters, &mut common)?;
    Ok((parameters, common))
}

fn printed<Q: Route>(parameters: &Parameters) -> String {
    let mut query = String::new();
    for parameter in Q::PARAMETERS.iter().copied().flatten() {
        for value in parameters.all(parameter.name) {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            write!(query, "&{}={value}", parameter.name).expect("memory");
        }
    }
    query
}

fn person(role: Role) -> Caller {
    Caller::Person(Person {
        subject: "u1".to_owned(),
        organizations: [(MINE.to_owned(), role), (THEIRS.to_owned(), Role::Member)].into(),
        staff: false,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_of_use_to_the_fuzzer_is_read_right() {
        fuzz::replay("query", super::query);
        fuzz::replay("cursor", super::cursor);
        fuzz::replay("token", super::token);
    }
}
