//! The part of UEFI that the stub uses (UEFI 2.10; sections in brackets).
//!
//! * In: the firmware's tables.
//! * Out: typed pointers into them.
//! * Never: a member that is not called or read; all others are gaps of the right size.

use core::ffi::c_void;

/// A handle of the firmware.
pub type Handle = *mut c_void;
/// How a call ended: an error has the highest bit (appendix D).
pub type Status = usize;

pub const SUCCESS: Status = 0;
pub const LOAD_ERROR: Status = 1 | ERROR;
pub const INVALID_PARAMETER: Status = 2 | ERROR;
pub const BUFFER_TOO_SMALL: Status = 5 | ERROR;
const ERROR: Status = 1 << 63;

/// The type of memory of a loader's data (7.2, `EfiLoaderData`).
pub const LOADER_DATA: u32 = 2;

/// The name of a protocol.
#[repr(C)]
pub struct Guid(pub u32, pub u16, pub u16, pub [u8; 8]);

/// `EFI_LOADED_IMAGE_PROTOCOL_GUID` (9.1).
pub static LOADED_IMAGE: Guid = Guid(
    0x5b1b_31a1,
    0x9562,
    0x11d2,
    [0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b],
);
/// `EFI_DEVICE_PATH_PROTOCOL_GUID` (10.2).
pub static DEVICE_PATH: Guid = Guid(
    0x0957_6e91,
    0x6d3f,
    0x11d2,
    [0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b],
);
/// `EFI_LOAD_FILE2_PROTOCOL_GUID` (13.2).
pub static LOAD_FILE2: Guid = Guid(
    0x4006_c0c1,
    0xfcb3,
    0x403e,
    [0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d],
);

/// `EFI_SYSTEM_TABLE` (4.3), up to the services.
#[repr(C)]
pub struct SystemTable {
    header: [u8; 24],
    vendor: *const u16,
    revision: u32,
    consoles: [*const c_void; 6],
    runtime: *const c_void,
    pub boot: *const BootServices,
}

/// `EFI_BOOT_SERVICES` (4.4), up to the last one that is called.
#[repr(C)]
pub struct BootServices {
    header: [u8; 24],
    priorities: [*const c_void; 2],
    pages: [*const c_void; 3],
    pub allocate_pool: unsafe extern "efiapi" fn(u32, usize, *mut *mut c_void) -> Status,
    free_pool: *const c_void,
    events: [*const c_void; 6],
    protocols: [*const c_void; 3],
    pub handle_protocol: unsafe extern "efiapi" fn(Handle, *const Guid, *mut *mut c_void) -> Status,
    reserved: *const c_void,
    lookups: [*const c_void; 3],
    configuration_table: *const c_void,
    pub load_image: unsafe extern "efiapi" fn(
        u8,
        Handle,
        *const c_void,
        *const c_void,
        usize,
        *mut Handle,
    ) -> Status,
    pub start_image: unsafe extern "efiapi" fn(Handle, *mut usize, *mut *mut u16) -> Status,
    exits: [*const c_void; 3],
    miscellaneous: [*const c_void; 3],
    drivers: [*const c_void; 2],
    open_protocols: [*const c_void; 3],
    library: [*const c_void; 3],
    /// It takes pairs of name and protocol up to a null: here, always two pairs.
    pub install_protocols: unsafe extern "efiapi" fn(
        *mut Handle,
        *const Guid,
        *const c_void,
        *const Guid,
        *const c_void,
        *const c_void,
    ) -> Status,
    uninstall_protocols: *const c_void,
    crc32: *const c_void,
    pub copy_memory: unsafe extern "efiapi" fn(*mut c_void, *const c_void, usize),
}

/// `EFI_LOADED_IMAGE_PROTOCOL` (9.1), up to the last member that is used.
#[repr(C)]
pub struct LoadedImage {
    revision: u32,
    parent: Handle,
    system: *const c_void,
    device: Handle,
    path: *const c_void,
    reserved: *const c_void,
    pub options_size: u32,
    pub options: *const c_void,
    pub base: *mut u8,
}
