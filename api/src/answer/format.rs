//! The forms that an answer comes in.

use axum::http::{HeaderMap, header};

use crate::problem::{Kind, Problem};

/// A form of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
}

impl Format {
    /// The form that the caller takes: JSON, unless it likes CSV better.
    pub(super) fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
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
