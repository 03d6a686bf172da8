//! Temporary folders that do not pile up: one whose owner was killed is removed by the next.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Once;

use tempfile::TempDir;

use crate::error::{Doing as _, Result};

const PREFIX: &str = "usage-ledger-stack-";
/// Locked as long as the folder's owner lives; the system lets go of it however that ends.
const LOCK: &str = "lock";

/// A temporary folder. Dropping it removes it.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// A new one; the first of a process also removes what killed processes left behind.
    pub fn new(what: &str) -> Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&std::env::temp_dir()));
        Self::within(&std::env::temp_dir(), what).doing(|| format!("make a temporary folder for {what}"))
    }

    fn within(parent: &Path, what: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{what}-"))
            .tempdir_in(parent)?;
        // Under its name only once it is locked: a sweep must not come between.
        let unlocked = folder.path().join("lock.new");
        let lock = File::create_new(&unlocked)?;
        lock.lock()?;
        fs::rename(unlocked, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders whose owners are gone. What cannot be removed is somebody else's.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_swept_and_those_of_the_living_stay() {
        let parent = tempfile::tempdir().expect("a folder");
        let living = Scratch::within(parent.path(), "living").expect("a folder");
        let Scratch { folder, _lock: lock } = Scratch::within(parent.path(), "dead").expect("a folder");
        let dead = folder.keep();
        drop(lock);
        let other = parent.path().join("other");
        fs::create_dir(&other).expect("a folder");
        sweep(parent.path());
        assert!(living.path().exists() && other.exists());
        assert!(!dead.exists());
    }
}
