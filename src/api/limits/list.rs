//! Lists every limit that a client can meet, for the help of `kettle-host`.
//!
//! * In: the constants.
//! * Out: one row for each.
//! * Never: a limit that is repeated or left out.

use std::fmt::Display;
use std::time::Duration;

use crate::api::submission;

/// Builds rows from constants of other rooms: what each counts, the constant, what it limits.
macro_rules! rows {
    ($($unit:ident, $name:ident, $meaning:literal;)*) => {
        vec![$(Limit::$unit(stringify!($name), $name, $meaning)),*]
    };
}

/// One limit, as the help shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name of the constant.
    pub name: &'static str,
    /// The value with its unit.
    pub value: String,
    /// The thing that is limited, for instance "one unpacked file".
    pub meaning: &'static str,
}

/// Returns every limit that a client can meet.
pub fn all() -> Vec<Limit> {
    super::list()
        .into_iter()
        .chain(submission::limits::list())
        .chain(sources())
        .chain(builds())
        .collect()
}

impl Limit {
    /// Returns a limit for a number of things.
    pub(in crate::api) fn count(
        name: &'static str,
        value: impl Display,
        meaning: &'static str,
    ) -> Self {
        Self {
            name,
            value: value.to_string(),
            meaning,
        }
    }

    /// Returns a limit in bytes, shown in the largest binary unit that divides it.
    pub(in crate::api) fn bytes(
        name: &'static str,
        value: impl TryInto<u64>,
        meaning: &'static str,
    ) -> Self {
        let units = [
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
            (1, "bytes"),
        ];
        let value: u64 = value.try_into().unwrap_or(u64::MAX);
        let (unit, word) = units
            .into_iter()
            .find(|(unit, _)| value.is_multiple_of(*unit))
            .unwrap_or((1, "bytes"));
        Self {
            name,
            value: format!("{} {word}", value / unit),
            meaning,
        }
    }

    /// Returns a limit for a time, shown in seconds.
    pub(in crate::api) fn time(name: &'static str, value: Duration, meaning: &'static str) -> Self {
        Self {
            name,
            value: format!("{} s", value.as_secs_f32()),
            meaning,
        }
    }
}

fn sources() -> Vec<Limit> {
    use crate::source::archive::*;
    use crate::source::repository::*;
    rows![
        count, MAX_ARCHIVE_ENTRIES, "entries of an archive";
        bytes, MAX_UNPACKED_BYTES, "unpacked files together";
        bytes, MAX_FILE_BYTES, "one unpacked file";
        count, MAX_EXPANSION_RATIO, "unpacked over packed bytes, for large archives";
        bytes, MAX_PATH_BYTES, "path of an entry";
        bytes, MAX_URL_BYTES, "repository URL";
        bytes, MAX_REF_BYTES, "ref";
        bytes, MAX_REPOSITORY_BYTES, "files of a repository together";
        count, MAX_SUBMODULES, "submodules of a repository";
        time, FETCH_TIME_LIMIT, "for fetching a repository";
    ]
}

fn builds() -> Vec<Limit> {
    use crate::job::{MAX_LINE_BYTES, MAX_LOG_BYTES};
    use crate::toolchain::cargo::*;
    use crate::toolchain::{BUILD_TIME, FETCH_TIME};
    rows![
        bytes, MAX_LOCKFILE_BYTES, "lockfile";
        bytes, MAX_CRATE_BYTES, "archive of a dependency";
        bytes, MAX_CRATE_UNPACKED_BYTES, "unpacked dependency";
        count, MAX_CRATE_FILES, "files of a dependency";
        time, FETCH_TIME, "for fetching dependencies, unless --fetch-seconds is given";
        time, BUILD_TIME, "for the build, unless --build-seconds is given";
        bytes, MAX_LOG_BYTES, "of a build's log; more output ends the build";
        bytes, MAX_LINE_BYTES, "of a line of build output; longer ones are split";
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of another room that declares limits that a client can meet. Constants that cannot be
    /// reached from outside their room are not for clients.
    const JOB_LOG: &str = include_str!("../../job/log.rs");

    #[test]
    fn lists_every_limit_of_a_jobs_log_once() {
        let listed: Vec<_> = all().iter().map(|limit| limit.name).collect();
        let lines = JOB_LOG.lines();
        let declared = lines.filter_map(|line| line.strip_prefix("pub const "));
        for name in declared.filter_map(|rest| rest.split(':').next()) {
            assert_eq!(
                listed.iter().filter(|listed| **listed == name).count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn sizes_are_in_the_largest_unit_that_divides_them() {
        for (size, text) in [
            (2_u64 << 30, "2 GiB"),
            (3 << 20, "3 MiB"),
            (1024, "1 KiB"),
            (1025, "1025 bytes"),
        ] {
            assert_eq!(Limit::bytes("", size, "").value, text);
        }
    }
}
