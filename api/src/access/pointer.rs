//! Where a claim is: a JSON pointer (RFC 6901).

use std::fmt;
use std::str::FromStr;

/// The place of a claim in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    names: Vec<String>,
}

/// A text that is no pointer to a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a JSON pointer such as `/organizations`, with `~1` for `/` and `~0` for `~` in a name \
     (`/https:~1~1example.com~1orgs`), got `{0}`"
)]
pub struct NoPointer(String);

impl Pointer {
    /// The claim with this name, at the top of a token.
    pub(crate) fn to(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
        }
    }

    /// The names on the way, the last of which is the claim's.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// A claim at the top is called by its name, as issuers do; one further down by its pointer.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [name] = self.names.as_slice() {
            return f.write_str(name);
        }
        self.names
            .iter()
            .try_for_each(|name| write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")))
    }
}

impl FromStr for Pointer {
    type Err = NoPointer;

    fn from_str(text: &str) -> Result<Self, NoPointer> {
        let wrong = || NoPointer(text.to_owned());
        let names = text.strip_prefix('/').ok_or_else(wrong)?.split('/');
        let names: Option<Vec<String>> = names.map(unescaped).collect();
        Ok(Self {
            names: names.ok_or_else(wrong)?,
        })
    }
}

/// The name that a part of a pointer stands for. A claim without a name is none: who writes an address with bare
/// slashes (`/https://…`) is told so.
fn unescaped(part: &str) -> Option<String> {
    if part.is_empty() || part.chars().any(char::is_control) {
        return None;
    }
    let mut pieces = part.split('~');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let (sign, rest) = match piece.split_at_checked(1)? {
            ("0", rest) => ('~', rest),
            ("1", rest) => ('/', rest),
            _ => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pointer_names_a_claim_or_is_refused() {
        for (text, names, shown) in [
            ("/organizations", &["organizations"][..], "organizations"),
            ("/app/orgs", &["app", "orgs"], "/app/orgs"),
            (
                "/https:~1~1example.com~1orgs",
                &["https://example.com/orgs"],
                "https://example.com/orgs",
            ),
            ("/cognito:groups", &["cognito:groups"], "cognito:groups"),
            ("/a~1b/c~01", &["a/b", "c~1"], "/a~1b/c~01"),
        ] {
            let pointer: Pointer = text.parse().expect(text);
            assert_eq!(pointer.names(), names, "{text}");
            assert_eq!(pointer.to_string(), shown, "{text}");
        }
        for text in [
            "",
            "organizations",
            "https://example.com/orgs",
            "/",
            "/https://example.com/orgs",
            "/a/",
            "/a~",
            "/a~2",
            "/a~é",
            "/a\nb",
            "#/a",
        ] {
            let error = text.parse::<Pointer>().expect_err(text);
            assert!(error.to_string().contains("expected a JSON pointer"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_name_can_be_pointed_to(names in prop::collection::vec("[a~/01:é]{1,6}", 1..4)) {
            let escaped = names.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            let text: String = escaped.collect();
            let pointer: Pointer = text.parse().expect("escaped");
            prop_assert_eq!(pointer.names(), &names[..]);
        }
    }
}
