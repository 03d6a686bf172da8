//! Finding programs: the user's own, those on PATH, and those that the set-up put into the project.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The folder the set-up installs servers into: `.local/tools` of the working copy, or
/// `USAGE_LEDGER_TOOLS`.
#[must_use]
pub fn folder() -> PathBuf {
    if let Some(folder) = set("USAGE_LEDGER_TOOLS") {
        return PathBuf::from(folder);
    }
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/tools");
    built_in
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from(".local/tools"))
}

/// A program on PATH.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| runs(path))
}

/// A program named by an environment variable (a path, or a name on PATH).
#[must_use]
pub fn from_variable(variable: &str) -> Option<PathBuf> {
    let value = set(variable)?;
    let path = PathBuf::from(&value);
    if runs(&path) { Some(path) } else { on_path(&value) }
}

/// A program that the set-up installed.
#[must_use]
pub fn from_folder(program: &str) -> Option<PathBuf> {
    let path = folder().join(program);
    runs(&path).then_some(path)
}

/// An environment variable, where it is set and not empty.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is where the stack's own settings are read"
)]
pub fn set(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.trim().is_empty())
}

fn runs(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_shell_and_no_folder() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-such-program-here").is_none());
        assert!(!runs(Path::new("/")));
    }
}
