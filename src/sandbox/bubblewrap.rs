//! The program bubblewrap.
//!
//! * In: the paths at which it may be installed, and its arguments.
//! * Out: its path and version, or why this machine cannot run it; its command line, before its
//!   standard streams are known.
//! * Never: a program from a search path, or an inherited environment.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{SetupError, kernel};
use crate::presence::is_file;

/// Where bubblewrap is, absolute: no search path is believed.
const BUBBLEWRAP: &[&str] = &["/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap"];
/// 0.8 brought `--disable-userns`.
const OLDEST_BUBBLEWRAP: (u32, u32) = (0, 8);
/// A kernel that has one of these with this value refuses user namespaces.
const USER_NAMESPACE_SYSCTLS: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces above 0",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

pub(super) fn find() -> Result<PathBuf, SetupError> {
    for path in BUBBLEWRAP.iter().map(PathBuf::from) {
        if is_file(&path).map_err(|source| SetupError::Path {
            path: path.clone(),
            source,
        })? {
            return Ok(path);
        }
    }
    Err(SetupError::NoBubblewrap {
        looked_for: BUBBLEWRAP,
    })
}

/// It prints `bubblewrap 0.8.0`.
pub(super) fn version_of(program: &Path) -> Result<String, SetupError> {
    let output = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|source| SetupError::Path {
        path: program.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .trim()
        .strip_prefix("bubblewrap ")
        .unwrap_or(text.trim())
        .to_owned();
    match parse_version(&version) {
        Some(found) if found >= OLDEST_BUBBLEWRAP => Ok(version),
        _ => {
            let required = format!("{}.{}", OLDEST_BUBBLEWRAP.0, OLDEST_BUBBLEWRAP.1);
            Err(SetupError::OldBubblewrap {
                required,
                found: version,
            })
        }
    }
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

pub(super) fn refused_user_namespaces() -> Option<SetupError> {
    USER_NAMESPACE_SYSCTLS
        .into_iter()
        .find_map(|(path, refusing, sysctl)| {
            let value = fs::read_to_string(path).ok()?.trim().to_owned();
            (value == refusing).then_some(SetupError::NoUserNamespaces { sysctl, value })
        })
}

/// bubblewrap's own command line, before its standard streams are known.
pub(super) fn command(program: &Path, arguments: Vec<OsString>, user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = user {
        // Without groups given, this also drops all supplementary ones, where the kernel lets it.
        command.uid(user).gid(user);
        kernel::require_no_groups(&mut command);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("0.11.0").unwrap() >= OLDEST_BUBBLEWRAP);
        assert!(parse_version("0.4.1").unwrap() < OLDEST_BUBBLEWRAP);
        assert_eq!(parse_version("built from git"), None);
    }
}
