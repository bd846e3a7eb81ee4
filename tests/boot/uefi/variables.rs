//! Variables of firmware with UEFI, as OVMF keeps them in flash (edk2,
//! `MdeModulePkg/Include/Guid/VariableFormat.h`, `AUTHENTICATED_VARIABLE_HEADER`).

/// A name in the form of UEFI: three numbers, then bytes.
type Guid = (u32, u16, u16, [u8; 8]);

const GLOBAL: Guid = (
    0x8be4_df61,
    0x93ca,
    0x11d2,
    [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c],
);
/// EFI_IMAGE_SECURITY_DATABASE_GUID.
const SECURITY_DATABASE: Guid = (
    0xd719_b2cb,
    0x3d3a,
    0x4596,
    [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f],
);
/// The disk's first partition, as `scripts/image/disk.sh` makes it.
const ESP: Guid = (0x6b65_7474, 0x6c65, 0x4000, [0x80, 0, 0, 0, 0, 0, 0, 0x11]);
const ESP_START: u64 = 2048;
const ESP_SECTORS: u64 = 34 * 2048;

/// Non-volatile, and visible to boot services and at run time.
const ATTRIBUTES: u32 = 7;
/// Beside that, written only by signed updates.
const AUTHENTICATED: u32 = ATTRIBUTES | 0x20;
/// The marks at the beginning of a variable: its start, and that it is whole and not deleted.
const START: u16 = 0x55aa;
const ADDED: u8 = 0x3f;
/// The size of the store's own header, after that of the volume.
const STORE_HEADER: usize = 28;

/// Variables to be put into an empty store.
#[derive(Default)]
pub struct Variables(Vec<u8>);

impl Variables {
    /// Makes the only boot option a file of the disk's first partition, started with a text as its
    /// options (UEFI 2.10, section 3.1.3).
    pub fn boot_option(&mut self, path: &str, options: &str) {
        let file = wide(path);
        let mut nodes = [4, 1, 42, 0, 1, 0, 0, 0].to_vec();
        nodes.extend(ESP_START.to_le_bytes());
        nodes.extend(ESP_SECTORS.to_le_bytes());
        nodes.extend(guid(ESP));
        // A partition of GPT, whose signature is a GUID.
        nodes.extend([2, 2]);
        nodes.extend([4, 4]);
        nodes.extend(u16::try_from(file.len() + 4).unwrap().to_le_bytes());
        nodes.extend(file);
        nodes.extend([0x7f, 0xff, 4, 0]);
        let mut option = 1_u32.to_le_bytes().to_vec();
        option.extend(u16::try_from(nodes.len()).unwrap().to_le_bytes());
        option.extend(wide("kettle"));
        option.extend(nodes);
        option.extend(wide(options));
        self.add("Boot0000", GLOBAL, ATTRIBUTES, &option);
        self.add("BootOrder", GLOBAL, ATTRIBUTES, &[0, 0]);
    }

    /// Turns Secure Boot on, with a list of what may start. The keys that could change the list are
    /// nobody's: firmware looks only whether there are such.
    pub fn secure_boot(&mut self, list: &[u8]) {
        self.add("PK", GLOBAL, AUTHENTICATED, list);
        self.add("KEK", GLOBAL, AUTHENTICATED, list);
        self.add("db", SECURITY_DATABASE, AUTHENTICATED, list);
    }

    fn add(&mut self, name: &str, vendor: Guid, attributes: u32, data: &[u8]) {
        let name = wide(name);
        self.0.extend(START.to_le_bytes());
        self.0.extend([ADDED, 0]);
        self.0.extend(attributes.to_le_bytes());
        // A counter, a time, and the number of a key.
        self.0.extend([0; 8 + 16 + 4]);
        for part in [&name[..], data] {
            self.0
                .extend(u32::try_from(part.len()).unwrap().to_le_bytes());
        }
        self.0.extend(guid(vendor));
        self.0.extend(name);
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(4), 0xff);
    }

    /// Returns a store that has these variables, made of an empty one.
    pub fn store(&self, mut empty: Vec<u8>) -> Vec<u8> {
        let volume_header = usize::from(u16::from_le_bytes([empty[48], empty[49]]));
        let start = volume_header + STORE_HEADER;
        let place = &mut empty[start..start + self.0.len()];
        assert!(place.iter().all(|byte| *byte == 0xff), "it is not empty");
        place.copy_from_slice(&self.0);
        empty
    }
}

fn guid((first, second, third, rest): Guid) -> Vec<u8> {
    let mut bytes = first.to_le_bytes().to_vec();
    bytes.extend(second.to_le_bytes());
    bytes.extend(third.to_le_bytes());
    bytes.extend(rest);
    bytes
}

/// Returns text in UTF-16 with its NUL.
fn wide(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}
