//! Every limit that a client can meet, for people: for the help of `kettle-host`. Comes in: the limits. Goes out: a line
//! for each. Never: a limit that is repeated or left out.

use std::time::Duration;

use super::*;

/// One limit, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The constant's name.
    pub name: &'static str,
    /// With its unit.
    pub value: String,
    /// What it limits.
    pub meaning: &'static str,
}

/// Every limit that a client can meet, for `--help`.
pub fn all() -> Vec<Limit> {
    connections()
        .into_iter()
        .chain(submissions())
        .chain(sources())
        .chain(builds())
        .collect()
}

fn connections() -> Vec<Limit> {
    vec![
        count(
            "MAX_CONNECTIONS",
            MAX_CONNECTIONS,
            "connections served at once, both ports together",
        ),
        bytes(
            "MAX_HEADER_BYTES",
            MAX_HEADER_BYTES as u64,
            "request line and header fields",
        ),
        bytes(
            "MAX_BUFFER_BYTES",
            MAX_BUFFER_BYTES as u64,
            "buffered of a connection, each way",
        ),
        count("MAX_HEADERS", MAX_HEADERS, "header fields of a request"),
        time(
            "HEADER_TIMEOUT",
            HEADER_TIMEOUT,
            "until a request's header is complete, or the next one comes",
        ),
        time(
            "TLS_HANDSHAKE_TIMEOUT",
            TLS_HANDSHAKE_TIMEOUT,
            "until a TLS handshake is complete",
        ),
        time(
            "WRITE_STALL_TIMEOUT",
            WRITE_STALL_TIMEOUT,
            "until a client that reads nothing is left",
        ),
        bytes(
            "MAX_LINGER_BYTES",
            MAX_LINGER_BYTES,
            "read and thrown away after an early answer",
        ),
        time(
            "LINGER_TIMEOUT",
            LINGER_TIMEOUT,
            "for reading and throwing away",
        ),
        time("ACCEPT_PAUSE", ACCEPT_PAUSE, "pause after a failed accept"),
        time(
            "EVENT_HEARTBEAT",
            EVENT_HEARTBEAT,
            "between comments to a reader of events",
        ),
        time(
            "READY_RETRY",
            READY_RETRY,
            "until a client may ask again whether the machine is ready",
        ),
        count(
            "MAX_SESSION_REQUESTS",
            MAX_SESSION_REQUESTS,
            "requests of clients in the secure processor at once",
        ),
    ]
}

fn submissions() -> Vec<Limit> {
    use crate::api::submission::limits::*;
    vec![
        bytes("MAX_ARCHIVE_BYTES", MAX_ARCHIVE_BYTES, "largest archive"),
        bytes("MAX_FORM_BODY_BYTES", MAX_FORM_BODY_BYTES, "largest form"),
        bytes(
            "MAX_JSON_BODY_BYTES",
            MAX_JSON_BODY_BYTES,
            "largest JSON body",
        ),
        bytes(
            "MAX_JSON_FIELDS_BYTES",
            MAX_JSON_FIELDS_BYTES as u64,
            "JSON without the archive",
        ),
        bytes("MAX_FIELD_BYTES", MAX_FIELD_BYTES as u64, "one field"),
        bytes(
            "MAX_SOURCE_NAME_BYTES",
            MAX_SOURCE_NAME_BYTES as u64,
            "file name of an archive",
        ),
        count("MAX_PARTS", MAX_PARTS, "parts of a form"),
        count(
            "MAX_PART_HEADERS",
            MAX_PART_HEADERS,
            "header fields of a part",
        ),
        bytes(
            "MAX_PART_HEADER_BYTES",
            MAX_PART_HEADER_BYTES as u64,
            "header of a part",
        ),
        bytes(
            "MAX_OUTSIDE_PARTS_BYTES",
            MAX_OUTSIDE_PARTS_BYTES as u64,
            "of a form outside its parts",
        ),
        bytes(
            "MAX_BOUNDARY_BYTES",
            MAX_BOUNDARY_BYTES as u64,
            "boundary of a form",
        ),
        time(
            "BODY_PROGRESS_TIMEOUT",
            BODY_PROGRESS_TIMEOUT,
            "until more of a body comes",
        ),
        time("MAX_UPLOAD_TIME", MAX_UPLOAD_TIME, "for a whole body"),
        count(
            "MAX_CONCURRENT_UPLOADS",
            MAX_CONCURRENT_UPLOADS,
            "archives received at once; further ones wait",
        ),
    ]
}

fn sources() -> Vec<Limit> {
    use crate::source::archive::*;
    use crate::source::repository::*;
    vec![
        count(
            "MAX_ARCHIVE_ENTRIES",
            MAX_ARCHIVE_ENTRIES,
            "entries of an archive",
        ),
        bytes(
            "MAX_UNPACKED_BYTES",
            MAX_UNPACKED_BYTES,
            "unpacked files together",
        ),
        bytes("MAX_FILE_BYTES", MAX_FILE_BYTES, "one unpacked file"),
        count(
            "MAX_EXPANSION_RATIO",
            MAX_EXPANSION_RATIO as usize,
            "unpacked over packed bytes, for large archives",
        ),
        bytes("MAX_PATH_BYTES", MAX_PATH_BYTES as u64, "path of an entry"),
        bytes("MAX_URL_BYTES", MAX_URL_BYTES as u64, "repository URL"),
        bytes("MAX_REF_BYTES", MAX_REF_BYTES as u64, "ref"),
        bytes(
            "MAX_REPOSITORY_BYTES",
            MAX_REPOSITORY_BYTES,
            "files of a repository together",
        ),
        count(
            "MAX_SUBMODULES",
            MAX_SUBMODULES,
            "submodules of a repository",
        ),
        time(
            "FETCH_TIME_LIMIT",
            FETCH_TIME_LIMIT,
            "for fetching a repository",
        ),
    ]
}

fn builds() -> Vec<Limit> {
    use crate::job::{MAX_LINE_BYTES, MAX_LOG_BYTES};
    use crate::toolchain::cargo::*;
    use crate::toolchain::{BUILD_TIME, FETCH_TIME};
    vec![
        bytes("MAX_LOCKFILE_BYTES", MAX_LOCKFILE_BYTES, "lockfile"),
        bytes(
            "MAX_CRATE_BYTES",
            MAX_CRATE_BYTES,
            "archive of a dependency",
        ),
        bytes(
            "MAX_CRATE_UNPACKED_BYTES",
            MAX_CRATE_UNPACKED_BYTES,
            "unpacked dependency",
        ),
        count("MAX_CRATE_FILES", MAX_CRATE_FILES, "files of a dependency"),
        time(
            "FETCH_TIME",
            FETCH_TIME,
            "for fetching dependencies, unless --fetch-seconds is given",
        ),
        time(
            "BUILD_TIME",
            BUILD_TIME,
            "for the build, unless --build-seconds is given",
        ),
        bytes(
            "MAX_LOG_BYTES",
            MAX_LOG_BYTES,
            "of a build's log; more output ends the build",
        ),
        bytes(
            "MAX_LINE_BYTES",
            MAX_LINE_BYTES as u64,
            "of a line of build output; longer ones are split",
        ),
    ]
}

fn count(name: &'static str, value: usize, meaning: &'static str) -> Limit {
    Limit {
        name,
        value: value.to_string(),
        meaning,
    }
}

/// In the largest binary unit that divides it.
fn bytes(name: &'static str, value: u64, meaning: &'static str) -> Limit {
    let units = [
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
        (1, "bytes"),
    ];
    let (unit, word) = units
        .into_iter()
        .find(|(unit, _)| value.is_multiple_of(*unit))
        .unwrap_or((1, "bytes"));
    Limit {
        name,
        value: format!("{} {word}", value / unit),
        meaning,
    }
}

fn time(name: &'static str, value: Duration, meaning: &'static str) -> Limit {
    Limit {
        name,
        value: format!("{} s", value.as_secs_f32()),
        meaning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files that declare limits a client can meet; what cannot be reached from outside its room is not for clients.
    const FILES: [&str; 3] = [
        include_str!("../limits.rs"),
        include_str!("../submission/limits.rs"),
        include_str!("../../job/log.rs"),
    ];

    #[test]
    fn lists_every_limit_of_its_rooms_once() {
        let listed: Vec<_> = all().iter().map(|limit| limit.name).collect();
        let declared = FILES
            .iter()
            .flat_map(|file| file.lines())
            .filter_map(|line| line.strip_prefix("pub const "));
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
            (2 << 30, "2 GiB"),
            (3 << 20, "3 MiB"),
            (1024, "1 KiB"),
            (1025, "1025 bytes"),
        ] {
            assert_eq!(bytes("", size, "").value, text);
        }
    }
}
