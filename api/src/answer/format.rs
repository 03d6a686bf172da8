//! The forms that an answer comes in.

use std::str::FromStr;

use axum::http::{HeaderMap, header};

use crate::parameter::Parameters;
use crate::problem::{Kind, Problem};
use crate::question::FORMAT;

/// A form of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    /// For programs.
    Csv,
    /// CSV as a file: with a name, and with the mark by which spreadsheets know its encoding.
    File,
}

impl FromStr for Format {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::File),
            _ => Err(()),
        }
    }
}

impl Format {
    /// The form that is asked for: by the parameter, or else by what the caller takes. What fetches a table for a
    /// spreadsheet cannot choose what it says that it takes.
    pub(super) fn asked(parameters: &Parameters, headers: &HeaderMap) -> Result<Self, Problem> {
        match parameters.typed(FORMAT.name)? {
            Some(format) => Ok(format),
            None => Self::accepted(headers),
        }
    }

    /// The form that the caller takes: JSON, unless it likes CSV better.
    fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut best = [0.0_f32; 2];
        let mut said = false;
        for value in headers.get_all(header::ACCEPT) {
            let ranges = value.to_str().unwrap_or_default().split(',');
            for range in ranges.map(str::trim).filter(|range| !range.is_empty()) {
                said = true;
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
                let weight = parts
                    .find_map(|part| part.strip_prefix("q="))
                    .map_or(Some(1.0), |q| q.parse().ok());
                let weight = weight.unwrap_or(0.0);
                match kind.as_str() {
                    "application/json" => best[0] = weight,
                    "text/csv" => best[1] = weight,
                    "*/*" | "application/*" => best[0] = best[0].max(weight),
                    "text/*" => best[1] = best[1].max(weight),
                    _ => {}
                }
            }
        }
        match best {
            [json, csv] if csv > json => Ok(Format::Csv),
            [json, _] if json > 0.0 || !said => Ok(Format::Json),
            _ => Err(Problem::new(
                Kind::NotAcceptable,
                "answers are `application/json` or `text/csv`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::Parameter;

    #[test]
    fn the_parameter_decides_whatever_the_header_says() {
        let table: &[&[&Parameter]] = &[&[&FORMAT]];
        let asked = |query: &str, accept: &str| {
            let parameters = Parameters::parse(Some(query), table)?;
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header"))]);
            Format::asked(&parameters, &headers)
        };
        for (query, accept, expected) in [
            ("format=csv", "application/json", Format::File),
            ("format=csv", "text/csv", Format::File),
            ("format=csv", "image/png", Format::File),
            ("format=json", "text/csv", Format::Json),
            ("", "text/csv", Format::Csv),
        ] {
            assert_eq!(asked(query, accept), Ok(expected), "{query} {accept}");
        }
        for query in [
            "format=xlsx",
            "format=CSV",
            "format=",
            "format=csv&format=csv",
            "format=csv&format=json",
        ] {
            let problem = asked(query, "text/csv").expect_err(query);
            assert_eq!(
                (problem.status(), problem.at_fault()),
                (400, Some("format")),
                "{query}"
            );
        }
    }

    #[test]
    fn csv_is_answered_to_whom_likes_it_better_than_json() {
        let format = |accept: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header"))]);
            Format::accepted(&headers).ok()
        };
        assert_eq!(Format::accepted(&HeaderMap::new()), Ok(Format::Json));
        for (accept, expected) in [
            ("*/*", Some(Format::Json)),
            ("text/csv", Some(Format::Csv)),
            ("text/csv, */*;q=0.1", Some(Format::Csv)),
            ("text/csv;q=0.5, application/json", Some(Format::Json)),
            ("application/json, text/csv", Some(Format::Json)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(Format::Json)),
            ("application/xml", None),
            ("text/csv;q=0", None),
            ("", Some(Format::Json)),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }
}
