//! Reads the fields of ZIP records.
//!
//! * In: the bytes of a record or of its extra fields.
//! * Out: numbers (little-endian) and byte strings.
//! * Never: a field that reaches beyond its record, or extra fields that do not fill theirs.

/// Extra fields: zip64 (4.5.3), Info-ZIP's second name (4.6.9).
pub(super) const EXTRA_ZIP64: u16 = 1;
const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// The rest of a record. Each read returns `None` if too few bytes are left.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(field)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

/// Returns the value of the extra field `wanted`, if there is one. The outer `None` stands for a
/// malformed block: fields that do not fill it exactly, or a repeated field.
pub(super) fn extra_field(block: &[u8], wanted: u16) -> Option<Option<&[u8]>> {
    let mut fields = Fields(block);
    let mut found = None;
    while !fields.0.is_empty() {
        let id = fields.u16()?;
        let size = fields.u16()?;
        let value = fields.bytes(size.into())?;
        if id == wanted && found.replace(value).is_some() {
            return None;
        }
    }
    Some(found)
}

/// Returns the numbers of a header. Those that are all ones are in the zip64 field instead, in the
/// same order.
pub(super) fn widen<const N: usize>(narrow: [u32; N], zip64: Option<&[u8]>) -> Option<[u64; N]> {
    let mut fields = Fields(zip64.unwrap_or_default());
    let mut wide = [0; N];
    for (to, from) in wide.iter_mut().zip(narrow) {
        *to = match from {
            u32::MAX => fields.u64()?,
            number => number.into(),
        };
    }
    Some(wide)
}

/// Returns whether an extra field has another name (4.6.9: version, checksum of the other name, the
/// name).
pub(super) fn unicode_path_differs(extra: &[u8], name: &[u8]) -> Option<bool> {
    match extra_field(extra, EXTRA_UNICODE_PATH)? {
        None => Some(false),
        Some(field) => Some(field.get(5..)? != name),
    }
}
