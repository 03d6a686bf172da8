//! Secrets that are in files.

use std::path::Path;

use super::given::{Given, Problem};
use super::table::{SETTINGS, variable};

/// The largest file that is taken for a secret, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// Puts what the files hold in the place of the settings that name them. A setting whose file is no good is left
/// out, and is a problem.
pub(super) fn read(given: &Given, read: impl Fn(&Path) -> std::io::Result<Vec<u8>>) -> (Given, Vec<Problem>) {
    let (mut all, mut problems) = (given.clone(), Vec::new());
    for setting in SETTINGS {
        let path = given.get(setting.name).filter(|path| !path.is_empty());
        let (Some(holds), Some(path)) = (setting.holds, path) else {
            continue;
        };
        let found = if given.get(holds).is_some_and(|text| !text.is_empty()) {
            Err(format!(
                "{} is set as well: expected one of the two",
                variable(holds)
            ))
        } else {
            read(Path::new(path))
                .map_err(|error| format!("the file `{path}` cannot be read: {error}"))
                .and_then(|bytes| secret(bytes).map_err(|what| format!("the file `{path}` {what}")))
        };
        match found {
            Ok(text) => {
                all.insert(holds, text);
            }
            Err(message) => problems.push(Problem {
                variable: setting.variable(),
                message,
            }),
        }
    }
    (all, problems)
}

/// The text of a file, without the newline at its end, or what is wrong with it.
fn secret(bytes: Vec<u8>) -> Result<String, &'static str> {
    if bytes.len() > MAX_BYTES {
        return Err("is larger than a secret can be");
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "holds what is no text")?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("is empty");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_secret_comes_from_its_file_or_the_file_is_named() {
        let file = |path: &Path| match path.to_str() {
            Some("plain") => Ok(b"s3cret".to_vec()),
            Some("line") => Ok(b"s3cret\n".to_vec()),
            Some("windows") => Ok(b"s3cret\r\n".to_vec()),
            Some("spaces") => Ok(b" s3cret \n\n".to_vec()),
            Some("empty") => Ok(b"\n".to_vec()),
            Some("binary") => Ok(vec![0xff, 0xfe]),
            Some("large") => Ok(vec![b'x'; MAX_BYTES + 1]),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        for (path, both, expected) in [
            ("plain", None, Ok(Some("s3cret"))),
            ("line", None, Ok(Some("s3cret"))),
            ("windows", None, Ok(Some("s3cret"))),
            ("spaces", None, Ok(Some(" s3cret \n"))),
            ("line", Some(""), Ok(Some("s3cret"))),
            ("", Some("other"), Ok(Some("other"))),
            ("", None, Ok(None)),
            (
                "line",
                Some("other"),
                Err("USAGE_LEDGER_JWT_SECRET is set as well"),
            ),
            ("empty", None, Err("`empty` is empty")),
            ("binary", None, Err("no text")),
            ("large", None, Err("larger")),
            ("nowhere", None, Err("cannot be read")),
        ] {
            let mut given = Given::from([("JWT_SECRET_FILE", path.to_owned())]);
            given.extend(both.map(|text| ("JWT_SECRET", text.to_owned())));
            let (all, problems) = read(&given, file);
            match expected {
                Ok(text) => {
                    assert_eq!(problems, [], "{path}");
                    assert_eq!(all.get("JWT_SECRET").map(String::as_str), text, "{path}");
                }
                Err(what) => {
                    assert_eq!(problems.len(), 1, "{path}");
                    assert_eq!(problems[0].variable, "USAGE_LEDGER_JWT_SECRET_FILE");
                    assert!(problems[0].message.contains(what), "{}", problems[0]);
                    assert!(!problems[0].message.contains("s3cret"), "{}", problems[0]);
                }
            }
        }
    }
}
