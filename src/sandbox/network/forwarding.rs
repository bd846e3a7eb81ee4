//! Lets the machine forward packets while a phase has a network.
//!
//! * In: the machine's interfaces, and whether packets of IPv6 are forwarded too.
//! * Out: a machine that forwards, and a table that drops all packets that it would not have
//!   forwarded before. When the last network is gone, both are as they were.
//! * Never: a moment in which the machine forwards packets of others, also after a service was
//!   killed: the table is created before the settings change and removed after they are restored,
//!   and each change is recorded before it is made.
//!
//! Several services of one machine can have networks at the same time. Each holds a shared lock on
//! a file of `/run`; a service that gets it exclusively is alone. The file lists the changed
//! settings, one a line: `PATH OLD`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::NAMESPACE;
use super::rules::{self, Forwarded};
use crate::netlink::Socket;
use crate::netlink::link::Link;

const STATE_DIRECTORY: &str = "/run";
const SETTINGS: &str = "/proc/sys/net";
const ON: &str = "1";
/// The setting that forwards packets of IPv6 of all interfaces.
const ALL_6: &str = "ipv6/conf/all/forwarding";
/// The value with which router advertisements count although the interface forwards (`accept_ra` of
/// the kernel's ip-sysctl).
const ALTHOUGH_FORWARDING: &str = "2";

/// Keeps the machine forwarding while a network of a phase exists. Dropping ends it.
#[derive(Debug)]
pub(super) struct Forwarding {
    names: Names,
    users: File,
}

/// The paths of the files of one network namespace, which are named by its number: each namespace
/// has its own settings and rules.
#[derive(Debug)]
struct Names {
    turn: PathBuf,
    users: PathBuf,
}

impl Names {
    fn of_this_namespace() -> io::Result<Self> {
        let number = fs::metadata(NAMESPACE)?.ino();
        let path =
            |suffix| PathBuf::from(format!("{STATE_DIRECTORY}/kettle-network-{number}{suffix}"));
        Ok(Self {
            turn: path(".turn"),
            users: path(""),
        })
    }

    /// Waits until no other service starts or ends forwarding. The last service may have removed
    /// the file while others waited for its lock; then this tries again.
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

/// Returns the number of a file, or zero, which is no file's number.
fn number(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.ino())
}

/// Takes the lock exclusively, if no other service has it. Returns whether it was taken.
fn is_alone(users: &File) -> io::Result<bool> {
    match flock(users, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Forwarding {
    /// Lets the machine forward between its interfaces and those of this room.
    pub(super) fn enable(links: &[Link], ipv6: bool) -> io::Result<Self> {
        let names = Names::of_this_namespace()?;
        let turn = names.turn()?;
        let mut users = open(&names.users)?;
        if is_alone(&users)? {
            // The file may have the changes of a service that was killed.
            undo(&mut users)?;
        }
        flock(&users, FlockOperation::LockShared)?;
        let mut forwarding = Self { names, users };
        let changed = forwarding.change(links, ipv6);
        // If this failed, dropping `forwarding` takes another turn.
        drop(turn);
        changed.map(|()| forwarding)
    }

    /// Records the settings that have to change, creates the table, and then changes them.
    fn change(&mut self, links: &[Link], ipv6: bool) -> io::Result<()> {
        let wanted = wanted(links, ipv6);
        let mut recorded = read(&mut self.users)?;
        // The record is undone from its end: first the setting that overwrites others, then those
        // others.
        let is_all = |setting: &&Setting| setting.path == ALL_6;
        let (all, single): (Vec<_>, Vec<_>) = wanted.iter().partition(is_all);
        let overwritten = match all.is_empty() {
            true => Vec::new(),
            false => overwritten_by_all_6(links),
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

/// Returns the settings that have to change, in the necessary order.
fn wanted(links: &[Link], ipv6: bool) -> Vec<Setting> {
    let is_machines = |link: &&Link| !link.is_loopback && !is_ours(&link.name);
    let machines: Vec<&Link> = links.iter().filter(is_machines).collect();
    let mut wanted = Vec::new();
    for link in &machines {
        let path = format!("ipv4/conf/{}/forwarding", link.name);
        wanted.push(Setting::new(path, ON));
    }
    if ipv6 {
        for link in &machines {
            let path = format!("ipv6/conf/{}/accept_ra", link.name);
            let advertised = Setting::new(path, ALTHOUGH_FORWARDING);
            if advertised.is(ON) {
                wanted.push(advertised);
            }
        }
        wanted.push(Setting::new(ALL_6.to_owned(), ON));
    }
    wanted.retain(|setting| !setting.is_as_wanted());
    wanted
}

/// Returns the settings that are on and that [`ALL_6`] switches off when it is restored: those of
/// single interfaces, and the one with which new interfaces start (ip-sysctl of the kernel).
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

/// Returns whether this room created an interface.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(rules::INTERFACE_PREFIX)
}

/// Restores the changed settings, the last first, and removes the table.
fn undo(users: &mut File) -> io::Result<()> {
    let recorded = read(users)?;
    for line in recorded.lines().rev() {
        let Some((path, value)) = line.split_once(' ') else {
            continue;
        };
        match Setting::new(path.to_owned(), value).apply() {
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

/// Returns the packets that are forwarded because of the recorded changes.
fn forwarded(recorded: &str) -> Forwarded {
    let mut forwarded = Forwarded::default();
    for line in recorded.lines() {
        let Some((path, _)) = line.split_once(' ') else {
            continue;
        };
        forwarded.ipv6 |= path == ALL_6;
        let below = path.strip_prefix("ipv4/conf/");
        if let Some(name) = below.and_then(|below| below.strip_suffix("/forwarding")) {
            forwarded.interfaces.push(name.to_owned());
        }
    }
    forwarded
}

/// A file below [`SETTINGS`] in this thread's network namespace, and its wanted value.
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
