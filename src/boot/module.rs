//! Kernel modules, for an image with a distribution's kernel (feature `modules`). Comes in: the folder of the initrd, measured with it. Goes out: a kernel with all of them, in the order
//! of their numbers. Never: a module from anywhere else; the settings phase ends loading for good.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use super::BootError;
use super::error::file;
use super::mounts::KernelFileSystems;

/// Decompressed files named `NN-name.ko`.
const FOLDER: &str = "/modules";

/// Phase: loads all of them, and frees their memory in the initrd.
pub(super) fn load_all(_: &KernelFileSystems) -> Result<(), BootError> {
    let entries = fs::read_dir(FOLDER).map_err(file(FOLDER))?;
    let names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_, _>>()
        .map_err(file(FOLDER))?;
    for name in in_order(names)? {
        load(&name)?;
    }
    fs::remove_dir_all(FOLDER).map_err(file(FOLDER))
}

fn load(name: &str) -> Result<(), BootError> {
    let path = Path::new(FOLDER).join(name);
    let module = File::open(&path).map_err(file(&path))?;
    match finit_module(module, c"", 0) {
        // Built in; or a driver whose hardware this machine lacks; or one that needs symbols of such a driver. What the machine
        // cannot do without, its phase will miss.
        Ok(()) | Err(Errno::EXIST | Errno::NODEV | Errno::NOENT) => Ok(()),
        Err(source) => Err(BootError::Module {
            name: name.to_owned(),
            source: source.into(),
        }),
    }
}

/// By number, then by name.
fn in_order(names: Vec<OsString>) -> Result<Vec<String>, BootError> {
    let mut numbered = Vec::new();
    for name in names {
        let number = name.to_str().and_then(number);
        let name = name.to_string_lossy().into_owned();
        numbered.push((
            number.ok_or_else(|| BootError::ModuleName { name: name.clone() })?,
            name,
        ));
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
