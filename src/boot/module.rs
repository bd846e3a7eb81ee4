//! Loads kernel modules, for an image with a distribution's kernel (feature `modules`).
//!
//! * In: a directory of the initrd, which is measured with it.
//! * Out: a kernel with all its modules, loaded in the order of their numbers.
//! * Never: a module from another source; after the settings phase, none can be loaded.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use super::BootError;
use super::error::file;
use super::mounts::KernelFileSystems;

/// The directory of the modules, which are decompressed files named `NN-name.ko`.
const DIRECTORY: &str = "/modules";

/// Phase: loads all modules, and frees their memory in the initrd.
pub(super) fn load_all(_: &KernelFileSystems) -> Result<(), BootError> {
    let entries = fs::read_dir(DIRECTORY).map_err(file(DIRECTORY))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(file(DIRECTORY))?.file_name());
    }
    for name in in_order(names)? {
        load(&name)?;
    }
    fs::remove_dir_all(DIRECTORY).map_err(file(DIRECTORY))
}

fn load(name: &str) -> Result<(), BootError> {
    let path = Path::new(DIRECTORY).join(name);
    let module = File::open(&path).map_err(file(&path))?;
    match finit_module(module, c"", 0) {
        // It is built in; or it is a driver whose hardware this machine lacks; or it needs symbols
        // of such a driver. If the machine needs it, a later phase fails without it.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV | Errno::NOENT) => Ok(()),
        Err(source) => Err(BootError::Module {
            name: name.to_owned(),
            source: source.into(),
        }),
    }
}

/// Sorts names by their numbers, then by the names themselves.
fn in_order(names: Vec<OsString>) -> Result<Vec<String>, BootError> {
    let mut numbered = Vec::new();
    for name in names {
        let number = name.to_str().and_then(number);
        let name = name.to_string_lossy().into_owned();
        match number {
            Some(number) => numbered.push((number, name)),
            None => return Err(BootError::ModuleName { name }),
        }
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, name)| name).collect())
}

fn number(name: &str) -> Option<u16> {
    let (digits, rest) = name.split_once('-')?;
    let inner = rest.strip_suffix(".ko")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let fits = !inner.is_empty()
        && inner.bytes().all(plain)
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_go_by_number() {
        let names = ["100-z.ko", "02-dm-mod.ko", "10-erofs.ko", "02-a_b.ko"]
            .map(OsString::from)
            .to_vec();
        assert_eq!(
            in_order(names).unwrap(),
            ["02-a_b.ko", "02-dm-mod.ko", "10-erofs.ko", "100-z.ko"]
        );
    }

    #[test]
    fn what_has_no_place_in_the_order_is_refused() {
        for name in [
            "erofs.ko",
            "-erofs.ko",
            "1-.ko",
            "1-a.ko.xz",
            "+1-a.ko",
            "1-a/b.ko",
            "99999-a.ko",
            "1-é.ko",
        ] {
            let refusal = in_order(vec![OsString::from(name)]);
            assert!(
                matches!(refusal, Err(BootError::ModuleName { .. })),
                "{name}"
            );
        }
    }
}
