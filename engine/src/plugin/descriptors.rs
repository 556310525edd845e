//! File descriptors: each run that waits on its target holds at least one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left to the database, logs, mail and the web server.
const SPARE: u64 = 1_024;

/// Raises the process's soft limit on open files to its hard limit and returns
/// how many runs that leaves room for, one descriptor each. The soft limit of
/// most systems is 1,024, for programs that use select(2); this one does not.
pub(super) fn raise() -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be raised");
            limit.current
        }
    };
    // Absent: no limit.
    let current = current.unwrap_or(u64::from(u32::MAX));
    let spare = SPARE.min(current / 4);
    u32::try_from(current - spare).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one_and_some_are_left_over() {
        let room = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert!(room > 0 && u64::from(room) < limit.current.unwrap_or(u64::MAX));
    }
}
