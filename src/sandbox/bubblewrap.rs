//! Finds the program bubblewrap, and writes its command line.
//!
//! * In: the paths at which it may be installed, and its arguments.
//! * Out: its path and version, or why this machine cannot run it; its command line.
//! * Never: a program from a search path, or an inherited environment.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{SetupError, kernel};
use crate::presence::is_file;

/// The absolute paths at which bubblewrap may be installed: no search path is used.
const BUBBLEWRAP: &[&str] = &["/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap"];
/// Version 0.8 introduced `--disable-userns`.
const OLDEST_BUBBLEWRAP: (u32, u32) = (0, 8);
/// The kernel's settings that can refuse user namespaces: the path of each, the value with which it
/// refuses them, and the setting to recommend.
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

/// Returns the first of the paths at which there is a file.
pub(super) fn find() -> Result<PathBuf, SetupError> {
    for path in BUBBLEWRAP.iter().map(PathBuf::from) {
        let found = is_file(&path).map_err(|source| SetupError::Path {
            path: path.clone(),
            source,
        })?;
        if found {
            return Ok(path);
        }
    }
    Err(SetupError::NoBubblewrap {
        looked_for: BUBBLEWRAP,
    })
}

/// Returns the version without the program's name, which bubblewrap prints first: `bubblewrap
/// 0.8.0`.
///
/// # Errors
/// The program cannot be run, or it is too old.
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

/// Returns the setting of the kernel that refuses user namespaces, if there is one.
pub(super) fn refused_user_namespaces() -> Option<SetupError> {
    USER_NAMESPACE_SYSCTLS
        .into_iter()
        .find_map(|(path, refusing, sysctl)| {
            let value = fs::read_to_string(path).ok()?.trim().to_owned();
            (value == refusing).then_some(SetupError::NoUserNamespaces { sysctl, value })
        })
}

/// Builds bubblewrap's command line: an empty environment, no input, and pipes for the output.
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
        // Without a list of groups, this also drops all supplementary ones, where the kernel allows
        // it.
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
