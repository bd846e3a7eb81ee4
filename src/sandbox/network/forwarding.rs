//! What the machine has to forward while there is a network of a phase.
//!
//! - Comes in: the machine's interfaces, and whether packets of IPv6 are to pass.
//! - Goes out: a machine that forwards, and a table that drops everything that it would not have forwarded before. When the last
//!   network is gone, both are as they were.
//! - Never: a moment in which the machine forwards what nobody asked for, also after a service that was killed: the table comes
//!   before the settings and goes after them, and what was changed is written down before it is changed.
//!
//! Several services of one machine can have networks at the same time. Each holds a shared lock on a file of `/run`; who gets
//! it exclusively is alone. The file lists what was changed: `PATH OLD`, one a line.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::NAMESPACE;
use super::rules::{self, Forwarded};
use crate::netlink::Socket;
use crate::netlink::link::Link;

const STATE_FOLDER: &str = "/run";
const SETTINGS: &str = "/proc/sys/net";
const ON: &str = "1";
/// Whether packets of IPv6 are forwarded, whichever interface they come in by.
const ALL_6: &str = "ipv6/conf/all/forwarding";
/// Router advertisements count although the interface forwards (`accept_ra` of the kernel's ip-sysctl).
const ALTHOUGH_FORWARDING: &str = "2";

/// Held while a network of a phase exists.
#[derive(Debug)]
pub(super) struct Forwarding {
    names: Names,
    users: File,
}

/// Files of one network namespace, by its number: each has settings and rules of its own.
#[derive(Debug)]
struct Names {
    turn: PathBuf,
    users: PathBuf,
}

impl Names {
    fn of_this_namespace() -> io::Result<Self> {
        let number = fs::metadata(NAMESPACE)?.ino();
        let path = |what| PathBuf::from(format!("{STATE_FOLDER}/kettle-network-{number}{what}"));
        Ok(Self {
            turn: path(".turn"),
            users: path(""),
        })
    }

    /// Waits until nobody else sets up or takes down. Whoever was last has removed the file that others may have waited for.
    fn turn(&self) -> io::Result<File> {
        loop {
            let file = open(&self.turn)?;
            flock(&file, FlockOperation::LockExclusive)?;
            let is_current =
                fs::metadata(&self.turn).is_ok_and(|found| found.ino() == number(&file));
            if is_current {
                return Ok(file);
            }
        }
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.users)?;
        fs::remove_file(&self.turn)
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Zero is no file's number.
fn number(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.ino())
}

/// Whether nobody else has the lock, which is ours then.
fn is_alone(users: &File) -> io::Result<bool> {
    match flock(users, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Forwarding {
    /// Has the machine forward between its interfaces and those of the room.
    pub(super) fn enable(links: &[Link], ipv6: bool) -> io::Result<Self> {
        let names = Names::of_this_namespace()?;
        let turn = names.turn()?;
        let mut users = open(&names.users)?;
        if is_alone(&users)? {
            // Of a service that was killed.
            undo(&mut users)?;
        }
        flock(&users, FlockOperation::LockShared)?;
        let mut forwarding = Self { names, users };
        let changed = forwarding.change(links, ipv6);
        // Whoever drops what failed takes a turn of its own.
        drop(turn);
        changed.map(|()| forwarding)
    }

    fn change(&mut self, links: &[Link], ipv6: bool) -> io::Result<()> {
        let wanted = wanted(links, ipv6);
        let mut recorded = read(&mut self.users)?;
        // Undone from the end: the setting that overwrites others first, then what it has overwritten.
        let (all, single) = wanted
            .iter()
            .partition::<Vec<_>, _>(|setting| setting.path == ALL_6);
        let overwritten = if all.is_empty() {
            Vec::new()
        } else {
            overwritten_by_all_6(links)
        };
        for setting in single.into_iter().chain(&overwritten).chain(all) {
            let line = format!("{} {}\n", setting.path, setting.value()?);
            recorded.push_str(&line);
            self.users.write_all(line.as_bytes())?;
        }
        rules::guard(&Socket::of_netfilter()?, &forwarded(&recorded))?;
        wanted.iter().try_for_each(Setting::apply)
    }
}

/// The settings that have to change, in the order in which they have to.
fn wanted(links: &[Link], ipv6: bool) -> Vec<Setting> {
    let others = || {
        links
            .iter()
            .filter(|link| !link.is_loopback && !is_ours(&link.name))
    };
    let by_it = |link: &Link| Setting::new(format!("ipv4/conf/{}/forwarding", link.name), ON);
    let mut wanted: Vec<Setting> = others().map(by_it).collect();
    if ipv6 {
        let advertised = |link: &Link| {
            let path = format!("ipv6/conf/{}/accept_ra", link.name);
            Setting::new(path, ALTHOUGH_FORWARDING)
        };
        wanted.extend(others().map(advertised).filter(|setting| setting.is(ON)));
        wanted.push(Setting::new(ALL_6.to_owned(), ON));
    }
    wanted.retain(|setting| !setting.is_as_wanted());
    wanted
}

/// Settings that are on and that [`ALL_6`] switches off when it is put back: those of single
/// interfaces, and the one that new interfaces begin with (ip-sysctl of the kernel).
fn overwritten_by_all_6(links: &[Link]) -> Vec<Setting> {
    let names = links
        .iter()
        .map(|link| link.name.as_str())
        .filter(|name| !is_ours(name));
    let settings = names.chain(["default"]).map(|name| {
        let path = format!("ipv6/conf/{name}/forwarding");
        Setting::new(path, ON)
    });
    settings.filter(Setting::is_as_wanted).collect()
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let end = || -> io::Result<()> {
            let _turn = self.names.turn()?;
            flock(&self.users, FlockOperation::Unlock)?;
            if !is_alone(&self.users)? {
                return Ok(());
            }
            undo(&mut self.users.try_clone()?)?;
            self.names.remove()
        };
        if let Err(error) = end() {
            log::error!("forwarding could not be ended: {error}");
        }
    }
}

/// Whether the room made an interface.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(rules::INTERFACE_PREFIX)
}

/// Puts back what was changed, the last first, and removes the table.
fn undo(users: &mut File) -> io::Result<()> {
    let recorded = read(users)?;
    for line in recorded.lines().rev() {
        let Some((path, value)) = line.split_once(' ') else {
            continue;
        };
        match (Setting {
            path: path.to_owned(),
            wanted: value.to_owned(),
        })
        .apply()
        {
            // The interface is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            applied => applied?,
        }
    }
    rules::remove_guard(&Socket::of_netfilter()?)?;
    users.set_len(0)?;
    users.rewind()
}

fn read(users: &mut File) -> io::Result<String> {
    let mut text = String::new();
    users.rewind()?;
    users.read_to_string(&mut text)?;
    Ok(text)
}

/// What is forwarded since the changes that are recorded.
fn forwarded(recorded: &str) -> Forwarded {
    let paths = || {
        recorded
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(path, _)| path)
    };
    let interface = |path: &str| {
        let name = path
            .strip_prefix("ipv4/conf/")?
            .strip_suffix("/forwarding")?;
        Some(name.to_owned())
    };
    Forwarded {
        interfaces: paths().filter_map(interface).collect(),
        ipv6: paths().any(|path| path == ALL_6),
    }
}

/// A file below [`SETTINGS`], of this thread's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    path: String,
    wanted: String,
}

impl Setting {
    pub(super) fn new(path: String, wanted: &str) -> Self {
        Self {
            path,
            wanted: wanted.to_owned(),
        }
    }

    fn value(&self) -> io::Result<String> {
        let text = fs::read_to_string(format!("{SETTINGS}/{}", self.path))?;
        Ok(text.trim().to_owned())
    }

    fn is(&self, value: &str) -> bool {
        self.value().is_ok_and(|found| found == value)
    }

    fn is_as_wanted(&self) -> bool {
        self.is(&self.wanted)
    }

    pub(super) fn apply(&self) -> io::Result<()> {
        fs::write(format!("{SETTINGS}/{}", self.path), &self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_fails_ends_and_waits_for_nobody() {
        let name = "missing".to_owned();
        let missing = Link {
            index: 0,
            name,
            mtu: 1500,
            is_up: true,
            is_loopback: false,
        };
        assert!(Forwarding::enable(&[missing], false).is_err());
    }

    #[test]
    fn the_table_drops_what_was_changed_and_no_more() {
        let recorded =
            "ipv4/conf/eth0/forwarding 0\nipv6/conf/eth0/accept_ra 1\nipv4/conf/a.1/forwarding 0\n";
        let interfaces = vec!["eth0".to_owned(), "a.1".to_owned()];
        assert_eq!(
            forwarded(recorded),
            Forwarded {
                interfaces: interfaces.clone(),
                ipv6: false
            }
        );
        let more = format!("{recorded}ipv6/conf/eth0/forwarding 1\n{ALL_6} 0\n");
        assert_eq!(
            forwarded(&more),
            Forwarded {
                interfaces,
                ipv6: true
            }
        );
        assert_eq!(forwarded(""), Forwarded::default());
    }
}
