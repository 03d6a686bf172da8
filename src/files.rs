//! Open files: the share of the two ports' connections, so that the rest of the program has enough.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What everything else opens: the store's connections, the brokers', the program itself.
const RESERVE: u64 = 256;

/// How many connections each port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    /// The reader's.
    pub(crate) api: usize,
    /// Those of health and metrics.
    pub(crate) admin: usize,
}

impl Connections {
    fn total(self) -> u64 {
        (self.api as u64).saturating_add(self.admin as u64)
    }

    /// What is left of these where only so many files may be open: the rest of the program gets its reserve, but
    /// at most half, and the smaller port its share first. Without it nobody would hear that there is trouble.
    fn within(self, files: u64) -> Self {
        let left = files - RESERVE.min(files / 2);
        if self.total() <= left {
            return self;
        }
        let at_most = |count: usize, most: u64| count.min(usize::try_from(most).unwrap_or(count)).max(1);
        let admin = at_most(self.admin, left / 4);
        Self {
            admin,
            api: at_most(self.api, left.saturating_sub(admin as u64)),
        }
    }
}

/// Asks the system for as many open files as these need, and takes fewer connections where it allows fewer.
pub(crate) fn allow(wanted: Connections) -> Connections {
    let limit = getrlimit(Resource::Nofile);
    let needed = wanted.total().saturating_add(RESERVE);
    let mut files = limit.current.unwrap_or(u64::MAX);
    if files < needed {
        let raised = needed.min(limit.maximum.unwrap_or(u64::MAX));
        let request = Rlimit {
            current: Some(raised),
            ..limit
        };
        match setrlimit(Resource::Nofile, request) {
            Ok(()) => files = raised,
            Err(error) => tracing::warn!(error = %error, "the limit of open files cannot be raised"),
        }
    }
    let allowed = wanted.within(files);
    if allowed != wanted {
        tracing::warn!(
            files,
            api = allowed.api,
            admin = allowed.admin,
            "fewer connections than USAGE_LEDGER_API_MAX_CONNECTIONS and _ADMIN_MAX_CONNECTIONS say: the system \
             allows fewer open files (`ulimit -n`)"
        );
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_program_keeps_files_whatever_is_connected() {
        let wanted = |api, admin| Connections { api, admin };
        for (files, ports, expected) in [
            (u64::MAX, wanted(1_024, 64), wanted(1_024, 64)),
            (1_344, wanted(1_024, 64), wanted(1_024, 64)),
            (1_343, wanted(1_024, 64), wanted(1_023, 64)),
            (1_024, wanted(1_024, 64), wanted(704, 64)),
            (256, wanted(1_024, 64), wanted(96, 32)),
            (256, wanted(10, 64), wanted(10, 64)),
            (256, wanted(100, 64), wanted(96, 32)),
            (64, wanted(1_024, 64), wanted(24, 8)),
            (2, wanted(1_024, 64), wanted(1, 1)),
        ] {
            let allowed = ports.within(files);
            assert_eq!(allowed, expected, "{files} files for {ports:?}");
            assert!(files < 4 || allowed.total() <= files - RESERVE.min(files / 2));
        }
    }
}
