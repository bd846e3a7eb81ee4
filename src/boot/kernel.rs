//! Makes the two calls that need `unsafe`.
//!
//! * In: bytes in the kernel's layouts, or the number of an interface.
//! * Out: the kernel's reply in these bytes, or a bound socket.
//! * Never: a pointer that outlives its call.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The size of `struct dm_ioctl`, in bytes (linux/dm-ioctl.h, interface 4).
pub(super) const DM_HEADER_BYTES: usize = 312;

/// The requests to the device mapper, by their numbers in linux/dm-ioctl.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DmCommand {
    Create = 3,
    SuspendOrResume = 6,
    LoadTable = 9,
}

/// Sends a request to the device mapper. `request` begins with a `struct dm_ioctl`, whose
/// `data_size` is the length of `request`.
pub(super) fn device_mapper(
    control: &File,
    command: DmCommand,
    request: &mut [u8],
) -> io::Result<()> {
    let size = request
        .first_chunk::<DM_HEADER_BYTES>()
        .and_then(|header| header[12..16].try_into().ok());
    if size.map(|size| u32::from_ne_bytes(size) as usize) != Some(request.len()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // _IOWR(0xfd, command, struct dm_ioctl)
    let opcode = (3 << 30)
        | ((DM_HEADER_BYTES as libc::c_ulong) << 16)
        | (0xfd << 8)
        | command as libc::c_ulong;
    // SAFETY: the kernel reads and writes at most data_size bytes from the pointer, which was just
    // compared with the length of the exclusive borrow; the layout has no pointers, so that any
    // bytes are valid before and after.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), opcode, request.as_mut_ptr()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Opens a socket for whole Ethernet frames with IPv4 packets, of one interface.
pub(super) fn packet_socket(interface: i32) -> io::Result<File> {
    // Without a protocol, it receives nothing before it is bound.
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: sockaddr_ll is plain numbers and bytes: zero is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = interface;
    let length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and length are those of a local that lives through the call, which only
    // reads it.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 {
        Ok(socket.into())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_mapper_is_never_told_another_size_than_that_of_the_buffer() {
        let nowhere = File::open("/dev/null").unwrap();
        let mut request = vec![0; DM_HEADER_BYTES];
        for size in [0, 311, 313, u32::MAX] {
            request[12..16].copy_from_slice(&u32::to_ne_bytes(size));
            let refusal = device_mapper(&nowhere, DmCommand::Create, &mut request).unwrap_err();
            assert_eq!(refusal.kind(), io::ErrorKind::InvalidInput, "{size}");
        }
        assert!(device_mapper(&nowhere, DmCommand::Create, &mut []).is_err());
    }
}
