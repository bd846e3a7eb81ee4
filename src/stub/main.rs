//! The program that firmware starts from the disk image: it starts the kernel of its own file.
//!
//! * In: its own sections `.linux`, `.initrd` and `.cmdline`.
//! * Out: the kernel, started with this initrd and this command line.
//! * Never: another input. It reads no file, no variable, no option that it was started with, no
//!   table of the firmware.
//!
//! The firmware measures this whole file into PCR 4 before it starts it, and the kernel into the
//! same register when it is loaded; the kernel's own stub measures its command line and the initrd
//! into PCR 9. So each byte that is used was measured, and `kettle measure --uki` calculates both
//! registers from the file.
//!
//! It is not a crate of the workspace: `scripts/image/compile.sh` compiles this file with the
//! locked compiler, and `link.ld` makes one blob of it. `kettle uki` puts that, kernel, initrd and
//! command line into one PE file. There are no relocations, so no address may be in constant data.

#![no_std]
#![no_main]
#![deny(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

mod uefi;

use core::ffi::c_void;
use core::mem::size_of;
use core::panic::PanicInfo;
use core::ptr::{null, null_mut};

use uefi::{
    BUFFER_TOO_SMALL, BootServices, DEVICE_PATH, Guid, Handle, INVALID_PARAMETER, LOAD_ERROR,
    LOAD_FILE2, LOADED_IMAGE, LOADER_DATA, LoadedImage, SUCCESS, Status, SystemTable,
};

/// The device path by which the kernel's stub finds its initrd: a vendor's media node with this
/// name, and the end (Linux, `LINUX_EFI_INITRD_MEDIA_GUID`; UEFI 2.10, section 10.3.5.3).
#[repr(C)]
struct InitrdPath {
    header: [u8; 4],
    name: Guid,
    end: [u8; 4],
}

static INITRD_PATH: InitrdPath = InitrdPath {
    header: [4, 3, 20, 0],
    name: Guid(
        0x5568_e427,
        0x68fc,
        0x4f3d,
        [0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68],
    ),
    end: [0x7f, 0xff, 4, 0],
};

/// The protocol `EFI_LOAD_FILE2_PROTOCOL` (UEFI 2.10, section 13.2), whose one member is the
/// function. What follows is ours.
#[repr(C)]
struct InitrdFile {
    load: extern "efiapi" fn(*const Self, *const c_void, u8, *mut usize, *mut u8) -> Status,
    boot: *const BootServices,
    bytes: *const u8,
    size: usize,
}

/// A part of this file in memory.
#[derive(Clone, Copy)]
struct Section {
    start: *const u8,
    size: usize,
}

/// The entry point. Returns only if the kernel could not be started, or came back.
#[unsafe(no_mangle)]
extern "efiapi" fn efi_main(image: Handle, system: *const SystemTable) -> Status {
    // SAFETY: the firmware calls this once, with its table and the handle of this file.
    match unsafe { start(image, &*(*system).boot) } {
        Ok(()) => SUCCESS,
        Err(status) => status,
    }
}

/// Starts the kernel.
///
/// # Safety
/// `image` is the handle of this file, and `boot` is what the firmware offers.
unsafe fn start(image: Handle, boot: &BootServices) -> Result<(), Status> {
    // SAFETY: the caller's promise, here and below; memory of the pool is never freed, so that the
    // kernel can read it until it has taken the machine over.
    unsafe {
        let base = (*loaded(boot, image)?).base.cast_const();
        let kernel = section(base, *b".linux\0\0").ok_or(LOAD_ERROR)?;
        let initrd = section(base, *b".initrd\0").ok_or(LOAD_ERROR)?;
        let text = section(base, *b".cmdline").ok_or(LOAD_ERROR)?;
        publish(boot, initrd)?;
        let mut started = null_mut();
        check((boot.load_image)(
            0,
            image,
            null(),
            kernel.start.cast(),
            kernel.size,
            &mut started,
        ))?;
        let (options, size) = wide(boot, text)?;
        let started_image = loaded(boot, started)?;
        (*started_image).options = options.cast();
        (*started_image).options_size = size;
        check((boot.start_image)(started, null_mut(), null_mut()))
    }
}

/// Returns what the firmware knows about an image that it loaded.
///
/// # Safety
/// `boot` is what the firmware offers, and `image` a handle of its.
unsafe fn loaded(boot: &BootServices, image: Handle) -> Result<*mut LoadedImage, Status> {
    let mut found = null_mut();
    // SAFETY: the caller's promise.
    check(unsafe { (boot.handle_protocol)(image, &LOADED_IMAGE, &mut found) })?;
    Ok(found.cast())
}

/// Returns a section of the PE file that was loaded to `base`, by its name.
///
/// # Safety
/// A firmware has loaded this file there, so that its headers are those that `kettle uki` wrote.
unsafe fn section(base: *const u8, name: [u8; 8]) -> Option<Section> {
    // SAFETY: the caller's promise. Offsets: PE format, "COFF File Header" and "Section Table".
    unsafe {
        let header = base.add(base.add(0x3c).cast::<u32>().read_unaligned() as usize);
        let count = header.add(6).cast::<u16>().read_unaligned();
        let optional = header.add(20).cast::<u16>().read_unaligned();
        let table = header.add(24 + usize::from(optional));
        (0..usize::from(count)).find_map(|index| {
            let entry = table.add(40 * index);
            let field = |offset| entry.add(offset).cast::<u32>().read_unaligned() as usize;
            (entry.cast::<u64>().read_unaligned() == u64::from_ne_bytes(name)).then(|| Section {
                start: base.add(field(12)),
                size: field(8),
            })
        })
    }
}

/// Offers the initrd to the kernel.
///
/// # Safety
/// `boot` is what the firmware offers.
unsafe fn publish(boot: &BootServices, initrd: Section) -> Result<(), Status> {
    // SAFETY: the caller's promise; the pool gives aligned memory of the size that was asked for.
    unsafe {
        let file = allocate(boot, size_of::<InitrdFile>())?.cast::<InitrdFile>();
        file.write(InitrdFile {
            load: load_initrd,
            boot,
            bytes: initrd.start,
            size: initrd.size,
        });
        let mut handle = null_mut();
        check((boot.install_protocols)(
            &mut handle,
            &DEVICE_PATH,
            (&raw const INITRD_PATH).cast(),
            &LOAD_FILE2,
            file.cast_const().cast(),
            null(),
        ))
    }
}

/// Copies the initrd to where the kernel wants it, or says how large it is.
extern "efiapi" fn load_initrd(
    this: *const InitrdFile,
    _path: *const c_void,
    boot_policy: u8,
    size: *mut usize,
    buffer: *mut u8,
) -> Status {
    if this.is_null() || size.is_null() || boot_policy != 0 {
        return INVALID_PARAMETER;
    }
    // SAFETY: `this` is what `publish` offered, and the kernel passes a place of `size` bytes.
    unsafe {
        let file = &*this;
        let room = size.replace(file.size);
        if buffer.is_null() || room < file.size {
            return BUFFER_TOO_SMALL;
        }
        ((*file.boot).copy_memory)(buffer.cast(), file.bytes.cast(), file.size);
    }
    SUCCESS
}

/// Returns ASCII text in the form in which a program gets its options: 16 bits a character, and
/// NUL; and its size in bytes.
///
/// # Safety
/// `boot` is what the firmware offers.
unsafe fn wide(boot: &BootServices, text: Section) -> Result<(*const u16, u32), Status> {
    let size = 2 * (text.size + 1);
    // SAFETY: the caller's promise; both ends are as long as the text, and one for the NUL.
    unsafe {
        let options = allocate(boot, size)?.cast::<u16>();
        for index in 0..text.size {
            options.add(index).write(u16::from(*text.start.add(index)));
        }
        options.add(text.size).write(0);
        Ok((options, size as u32))
    }
}

/// Returns memory that is aligned to 8 bytes (UEFI 2.10, section 7.2, AllocatePool).
///
/// # Safety
/// `boot` is what the firmware offers.
unsafe fn allocate(boot: &BootServices, size: usize) -> Result<*mut c_void, Status> {
    let mut place = null_mut();
    // SAFETY: the caller's promise.
    check(unsafe { (boot.allocate_pool)(LOADER_DATA, size, &mut place) })?;
    Ok(place)
}

const fn check(status: Status) -> Result<(), Status> {
    match status {
        SUCCESS => Ok(()),
        status => Err(status),
    }
}

/// Nothing here panics; the compiler wants this.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
