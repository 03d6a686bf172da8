//! The names of files that answers are saved as.

use crate::range::Range;

/// The most characters of an organization in a name.
const MAX_CHARS: usize = 64;

/// The name of a table as a file: the route, whose usage, and which days. Whoever names an organization chooses no
/// path, no ending and no quotes: of its name only ASCII letters, digits and `_` stay, and `-` stands for the rest.
pub(super) fn file_name(path: &str, organization: Option<&str>, range: Range) -> String {
    let route = path.rsplit('/').next().unwrap_or(path);
    let organization = organization.map(safe).filter(|name| !name.is_empty());
    let whose = organization.map(|name| format!("-{name}")).unwrap_or_default();
    format!("usage-{route}{whose}-{}-{}.csv", range.from, range.to)
}

fn safe(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: Vec<&str> = text
        .split(|c| !is_safe(c))
        .filter(|word| !word.is_empty())
        .collect();
    // Nothing but ASCII is left: each character is a byte.
    let mut name = words.join("-");
    name.truncate(MAX_CHARS);
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(organization: Option<&str>) -> String {
        let range = Range {
            from: "2026-01-05".parse().expect("a day"),
            to: "2026-02-01".parse().expect("a day"),
        };
        file_name("/v1/usage/series", organization, range)
    }

    #[test]
    fn a_name_says_route_organization_and_days() {
        for (organization, name) in [
            (Some("acme_1"), "usage-series-acme_1-2026-01-05-2026-02-01.csv"),
            (
                Some("acme.com/eu"),
                "usage-series-acme-com-eu-2026-01-05-2026-02-01.csv",
            ),
            (
                Some("../..\\\"; x=\r\n"),
                "usage-series-x-2026-01-05-2026-02-01.csv",
            ),
            (
                Some("M\u{fc}ller & Söhne"),
                "usage-series-M-ller-S-hne-2026-01-05-2026-02-01.csv",
            ),
            (Some("公司"), "usage-series-2026-01-05-2026-02-01.csv"),
            (None, "usage-series-2026-01-05-2026-02-01.csv"),
        ] {
            assert_eq!(named(organization), name);
        }
    }

    proptest! {
        #[test]
        fn whatever_an_organization_is_called_its_file_is_plain(organization in ".{0,128}") {
            let name = named(Some(&organization));
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            prop_assert!(name.strip_suffix(".csv").is_some_and(|name| name.chars().all(plain)), "{}", name);
            prop_assert!(name.len() <= 120);
        }
    }
}
