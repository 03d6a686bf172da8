//! Parameters of a question, and their strict parsing.
//!
//! One table describes a route's parameters to the parser and to the OpenAPI document. Malformed and
//! unknown parameters are refused, and second ones where one value is meant; nothing is coerced.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use rollup::event::MAX_TEXT_CHARS;
use rollup::period::{Granularity, Period};

use chrono::NaiveDate;

use crate::problem::{Problem, echo};

/// How often one filter may be repeated.
pub(crate) const MAX_VALUES: usize = 100;
/// The longest cursor.
const MAX_CURSOR_BYTES: usize = 4096;
/// The first and the last year of a date.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2199;

/// A parameter of a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) required: bool,
    pub(crate) repeatable: bool,
    pub(crate) description: &'static str,
}

/// The form of a parameter's text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// An identity: 1 to 128 characters, without control characters.
    Text,
    /// The name of a service: `[a-z0-9-]{1,32}`.
    Service,
    /// The ledger's own time zone.
    Zone,
    /// `YYYY-MM-DD`.
    Date,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number in these bounds.
    Number { min: u32, max: u32 },
    /// What an earlier answer gave.
    Cursor,
}

impl Parameter {
    pub(crate) const fn optional(name: &'static str, form: Form, description: &'static str) -> Self {
        Self {
            name,
            form,
            required: false,
            repeatable: false,
            description,
        }
    }

    pub(crate) const fn required(name: &'static str, form: Form, description: &'static str) -> Self {
        Self {
            required: true,
            ..Self::optional(name, form, description)
        }
    }

    pub(crate) const fn filter(name: &'static str, form: Form, description: &'static str) -> Self {
        Self {
            repeatable: true,
            ..Self::optional(name, form, description)
        }
    }

    fn check(&self, text: &str) -> Result<(), String> {
        match self.form {
            Form::Text | Form::Zone => check_identity(text),
            Form::Service => {
                let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                let valid = (1..=32).contains(&text.len()) && text.bytes().all(fits);
                valid
                    .then_some(())
                    .ok_or_else(|| format!("expected 1 to 32 of `a-z`, `0-9` and `-`, got `{}`", echo(text)))
            }
            Form::Date => date(text).map(drop).ok_or_else(|| {
                format!(
                    "expected a date such as `2026-01-31`, from {} to {}, got `{}`",
                    YEARS.start(),
                    YEARS.end(),
                    echo(text)
                )
            }),
            Form::Choice(words) => words
                .contains(&text)
                .then_some(())
                .ok_or_else(|| format!("expected one of `{}`, got `{}`", words.join("`, `"), echo(text))),
            Form::Number { min, max } => {
                let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits.then(|| text.parse::<u32>().ok()).flatten();
                number
                    .filter(|number| (min..=max).contains(number))
                    .map(drop)
                    .ok_or_else(|| {
                        format!(
                            "expected a whole number from {min} to {max}, got `{}`",
                            echo(text)
                        )
                    })
            }
            Form::Cursor => (1..=MAX_CURSOR_BYTES)
                .contains(&text.len())
                .then_some(())
                .ok_or_else(|| "expected the `nextCursor` of an earlier answer".to_owned()),
        }
    }
}

fn check_identity(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("expected a value, got an empty text".to_owned());
    }
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(format!("expected at most {MAX_TEXT_CHARS} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("expected no control characters".to_owned());
    }
    if is_operator(text) {
        return Err(format!(
            "expected an identity, got something like a query operator: `{}`",
            echo(text)
        ));
    }
    Ok(())
}

/// Whether a text is an attempt at a query operator: `$gt`, `[$ne]`, `{"$gt": ""}`. Values never become
/// part of a query's structure here; it is refused because no honest caller asks for it.
fn is_operator(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + 1..].chars().next();
        matches!(before, None | Some('[' | '{' | '"' | '\''))
            && after.is_some_and(|c| c.is_ascii_alphabetic())
    })
}

/// Reads a date in its one spelling.
pub(crate) fn date(text: &str) -> Option<NaiveDate> {
    let day = Period::parse(Granularity::Daily, text)?.first_day();
    YEARS.contains(&chrono::Datelike::year(&day)).then_some(day)
}

/// The parameters of one request: each is known, well-formed, and there as often as it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Parses the query string of a request for a route with these parameters.
    pub(crate) fn parse(query: Option<&str>, table: &[&[&Parameter]]) -> Result<Self, Problem> {
        let mut values: Vec<(&'static str, String)> = Vec::new();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name =
                decode(name).ok_or_else(|| Problem::parameter(name, "expected a percent-encoded name"))?;
            let known = || table.iter().copied().flatten();
            let Some(parameter) = known().find(|parameter| parameter.name == name) else {
                return Err(Problem::parameter(
                    &name,
                    "there is no parameter of this name here",
                ));
            };
            let name = parameter.name;
            let value = decode(value)
                .ok_or_else(|| Problem::parameter(name, "expected percent-encoded text in UTF-8"))?;
            parameter
                .check(&value)
                .map_err(|detail| Problem::parameter(name, detail))?;
            let before = values.iter().filter(|(known, _)| *known == name).count();
            if !parameter.repeatable && before > 0 {
                return Err(Problem::parameter(name, "expected one value, got more"));
            }
            if before >= MAX_VALUES {
                return Err(Problem::parameter(
                    name,
                    format!("expected at most {MAX_VALUES} values"),
                ));
            }
            values.push((name, value));
        }
        let parameters = Self(values);
        match table
            .iter()
            .copied()
            .flatten()
            .find(|p| p.required && parameters.one(p.name).is_none())
        {
            Some(missing) => Err(Problem::parameter(missing.name, "this parameter is required")),
            None => Ok(parameters),
        }
    }

    /// The value of a parameter that has one.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter whose form has been checked.
    pub(crate) fn typed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.one(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| Problem::parameter(name, "this value has no meaning here"))
            })
            .transpose()
    }
}

/// Decodes one name or value: `+` is a space, and every `%` starts an escape.
fn decode(text: &str) -> Option<String> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = byte != b'%'
            || (rest.next().is_some_and(|b| b.is_ascii_hexdigit())
                && rest.next().is_some_and(|b| b.is_ascii_hexdigit()));
        if !escaped {
            return None;
        }
    }
    let spaced = text.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &[&Parameter] = &[
        &Parameter::required("organizationId", Form::Text, ""),
        &Parameter::optional("from", Form::Date, ""),
        &Parameter::optional("limit", Form::Number { min: 1, max: 1000 }, ""),
        &Parameter::optional("sort", Form::Choice(&["cost", "tokens"]), ""),
        &Parameter::filter("agentSlug", Form::Text, ""),
        &Parameter::filter("source", Form::Service, ""),
    ];

    fn refused(query: &str) -> String {
        let problem = Parameters::parse(Some(query), &[TABLE]).expect_err(query);
        assert_eq!(problem.status(), 400, "{query}");
        problem.at_fault().expect("a parameter").to_owned()
    }

    #[test]
    fn what_is_well_formed_is_taken_as_it_is() {
        let query =
            "organizationId=a%2Fb+c&agentSlug=x&agentSlug=__unattributed__&limit=1000&from=2026-01-31";
        let parameters = Parameters::parse(Some(query), &[TABLE]).expect(query);
        assert_eq!(parameters.one("organizationId"), Some("a/b c"));
        assert_eq!(
            parameters.all("agentSlug").collect::<Vec<_>>(),
            ["x", "__unattributed__"]
        );
        assert_eq!(parameters.typed::<u32>("limit"), Ok(Some(1000)));
        assert_eq!(parameters.one("sort"), None);
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (query, name) in [
            ("", "organizationId"),
            ("organizationId=", "organizationId"),
            ("organizationId", "organizationId"),
            ("organizationId=a&organizationId=a", "organizationId"),
            ("organizationId=%zz", "organizationId"),
            ("organizationId=%2", "organizationId"),
            ("organizationId=%ff", "organizationId"),
            ("organizationId=a%00", "organizationId"),
            ("organizationId=$gt", "organizationId"),
            ("organizationId[$ne]=a", "organizationId[$ne]"),
            ("organizationId=[$ne]", "organizationId"),
            ("organizationId=%7B%22$gt%22:%22%22%7D", "organizationId"),
            ("OrganizationId=a", "OrganizationId"),
            ("organizationId=a&from=2026-1-31", "from"),
            ("organizationId=a&from=2026-02-30", "from"),
            ("organizationId=a&from=%2B2026-01-01", "from"),
            ("organizationId=a&from=1969-12-31", "from"),
            ("organizationId=a&limit=0", "limit"),
            ("organizationId=a&limit=1001", "limit"),
            ("organizationId=a&limit=+5", "limit"),
            ("organizationId=a&limit=-5", "limit"),
            ("organizationId=a&limit=1e2", "limit"),
            ("organizationId=a&limit=99999999999", "limit"),
            ("organizationId=a&sort=Cost", "sort"),
            ("organizationId=a&source=Chat", "source"),
            ("organizationId=a&constructor=1", "constructor"),
        ] {
            assert_eq!(refused(query), name, "{query}");
        }
        let long = "x".repeat(10_000);
        assert_eq!(refused(&format!("organizationId={long}")), "organizationId");
        assert_eq!(refused(&format!("organizationId=a&{long}=1")).chars().count(), 65);
        let many = "&agentSlug=x".repeat(101);
        assert_eq!(refused(&format!("organizationId=a{many}")), "agentSlug");
    }

    #[test]
    fn a_dollar_sign_alone_is_no_operator() {
        for text in ["a$b", "save $money", "us$", "$", "$5", "claude[1m]", "{x}"] {
            assert_eq!(check_identity(text), Ok(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_query_string_makes_it_panic(query in ".{0,60}") {
            drop(Parameters::parse(Some(&query), &[TABLE]));
        }

        #[test]
        fn an_identity_survives_the_way_through_a_url(text in "[^\\p{Cc}$]{1,60}") {
            let encoded: String = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let query = format!("organizationId={encoded}");
            let parameters = Parameters::parse(Some(&query), &[TABLE]).expect("valid");
            prop_assert_eq!(parameters.one("organizationId"), Some(text.as_str()));
        }
    }
}
