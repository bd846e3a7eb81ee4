//! Reads the host's certificate table.
//!
//! * In: the bytes that the host wrote.
//! * Out: the certificates of known kinds, as DER.
//! * Never: a byte from outside the table, or trust in a certificate because it was in the table.
//!
//! The table is that of the GHCB specification revision 2.04, SNP extended guest request: entries,
//! then the certificates to which they point.
//!
//! | bytes of an entry | content |
//! |---|---|
//! | 0–15 | GUID of the kind, in RFC 4122 byte order |
//! | 16–19 | offset from the start of the table, little-endian |
//! | 20–23 | length, little-endian |
//!
//! An entry of zeros is the last. Hosts pass DER or PEM; unknown kinds are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The size of the largest table, in bytes: the limit of the guest's kernel
/// (`SEV_FW_BLOB_MAX_SIZE`, linux/psp-sev.h).
pub const MAX_TABLE_BYTES: usize = 16 << 10;
/// The largest number of entries: five kinds are specified.
pub const MAX_TABLE_ENTRIES: usize = 16;
/// The size of the largest certificate, in bytes, as the host passes it: AMD's have less than 2 KiB
/// in DER, a third more in PEM.
pub const MAX_CERTIFICATE_BYTES: usize = 8 << 10;

const ENTRY_BYTES: usize = 24;
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// A kind of certificate that a table can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CertificateKind {
    Vcek,
    Vlek,
    Ask,
    Ark,
}

/// The known kinds with their GUIDs: 63da758d-e664-4564-adc5-f4b93be8accd,
/// a8074bc2-a25a-483e-aae6-39c045a0b8a1, 4ab7b379-bbac-4fe4-a02f-05aef327c782,
/// c0b406a4-a803-4952-9743-3fb6014cd0ae.
const KINDS: [(u128, CertificateKind); 4] = [
    (
        0x63da758d_e664_4564_adc5_f4b93be8accd,
        CertificateKind::Vcek,
    ),
    (
        0xa8074bc2_a25a_483e_aae6_39c045a0b8a1,
        CertificateKind::Vlek,
    ),
    (0x4ab7b379_bbac_4fe4_a02f_05aef327c782, CertificateKind::Ask),
    (0xc0b406a4_a803_4952_9743_3fb6014cd0ae, CertificateKind::Ark),
];

/// The certificates that the host passed, as DER. They have not been verified or parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The VCEK, or the VLEK if there is no VCEK.
    pub vcek: Option<Vec<u8>>,
    /// The ASK or the ASVK.
    pub ask: Option<Vec<u8>>,
    /// The ARK, which signed the ASK or the ASVK.
    pub ark: Option<Vec<u8>>,
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum TableError {
    #[error("it has {size} bytes, the limit is {limit}")]
    Size { limit: usize, size: usize },
    /// The limit is [`MAX_TABLE_ENTRIES`], or less if the table is shorter.
    #[error("it has no end within {limit} entries")]
    NoEnd { limit: usize },
    /// The entry points out of the table, or at other entries. `end` is the offset after its last
    /// byte; the certificates are at `from` to `to`.
    #[error("entry {entry} points at {offset} to {end}, outside of {from} to {to}")]
    Outside {
        entry: usize,
        offset: u64,
        end: u64,
        from: usize,
        to: usize,
    },
    #[error("entry {entry} has {size} bytes, the limit is {limit}")]
    CertificateSize {
        entry: usize,
        limit: usize,
        size: usize,
    },
    #[error("entry {entry} repeats the kind of an earlier entry")]
    Repeated { entry: usize },
    #[error("entry {entry} is no certificate, DER or PEM")]
    Encoding { entry: usize },
}

impl Certificates {
    /// Reads a table.
    ///
    /// # Errors
    /// The table is broken, or over a limit.
    pub fn read(table: &[u8]) -> Result<Self, TableError> {
        if table.len() > MAX_TABLE_BYTES {
            return Err(TableError::Size {
                limit: MAX_TABLE_BYTES,
                size: table.len(),
            });
        }
        let entries = entries(table)?;
        let from = (entries.len() + 1) * ENTRY_BYTES;
        let mut found: [Option<Vec<u8>>; KINDS.len()] = Default::default();
        for (number, entry) in entries.into_iter().enumerate() {
            let content = entry.content(number, table, from)?;
            let Some(kind) = KINDS.iter().position(|(guid, _)| *guid == entry.guid) else {
                continue;
            };
            let encoding = TableError::Encoding { entry: number };
            let certificate = certificate(content).ok_or(encoding)?;
            if found[kind].replace(certificate).is_some() {
                return Err(TableError::Repeated { entry: number });
            }
        }
        let [vcek, vlek, ask, ark] = found;
        Ok(Self {
            vcek: vcek.or(vlek),
            ask,
            ark,
        })
    }

    /// Returns whether the host passed no certificate.
    pub fn is_empty(&self) -> bool {
        self.vcek.is_none() && self.ask.is_none() && self.ark.is_none()
    }
}

struct TableEntry {
    guid: u128,
    offset: u32,
    length: u32,
}

impl TableEntry {
    /// Reads an entry. Returns none for the last one, which is zeros.
    fn read(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let guid = u128::from_be_bytes(std::array::from_fn(|index| bytes[index]));
        (*bytes != [0; ENTRY_BYTES]).then(|| Self {
            guid,
            offset: number(16),
            length: number(20),
        })
    }

    /// Returns the certificate, which has to be between `from` and the end of the table.
    fn content<'a>(
        &self,
        entry: usize,
        table: &'a [u8],
        from: usize,
    ) -> Result<&'a [u8], TableError> {
        let offset = u64::from(self.offset);
        let end = offset + u64::from(self.length);
        let outside = TableError::Outside {
            entry,
            offset,
            end,
            from,
            to: table.len(),
        };
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let content = match range {
            Some((start, end)) if start >= from => table.get(start..end),
            _ => None,
        };
        let content = content.ok_or(outside)?;
        if content.len() > MAX_CERTIFICATE_BYTES {
            return Err(TableError::CertificateSize {
                entry,
                limit: MAX_CERTIFICATE_BYTES,
                size: content.len(),
            });
        }
        Ok(content)
    }
}

/// Returns the entries before the last one. A table without a last entry is refused.
fn entries(table: &[u8]) -> Result<Vec<TableEntry>, TableError> {
    let mut found = Vec::new();
    let chunks = table.chunks(ENTRY_BYTES).take(MAX_TABLE_ENTRIES + 1);
    for bytes in chunks.filter_map(<[u8]>::first_chunk) {
        match TableEntry::read(bytes) {
            None => return Ok(found),
            Some(entry) => found.push(entry),
        }
    }
    Err(TableError::NoEnd {
        limit: found.len().min(MAX_TABLE_ENTRIES),
    })
}

/// Returns a certificate in DER as it is, and one in PEM decoded. The only check is that it is a
/// sequence: the verifier reads it.
pub(super) fn certificate(content: &[u8]) -> Option<Vec<u8>> {
    const SEQUENCE: u8 = 0x30;
    let decoded = if content.first() == Some(&SEQUENCE) {
        Some(content.to_vec())
    } else {
        pem(content)
    };
    decoded.filter(|der| der.first() == Some(&SEQUENCE))
}

/// Decodes one certificate in the textual encoding of RFC 7468, with only white space and final
/// zeros around it.
fn pem(content: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content).ok()?;
    let text = text.trim_end_matches('\0').trim();
    let body = text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let encoded: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(encoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DER: &[u8] = &[0x30, 1, 7];

    /// A table of these contents in this order.
    fn table(contents: &[(u128, &[u8])]) -> Vec<u8> {
        let mut offset = (contents.len() + 1) * ENTRY_BYTES;
        let mut bytes = Vec::new();
        for (guid, content) in contents {
            bytes.extend(guid.to_be_bytes());
            bytes.extend((offset as u32).to_le_bytes());
            bytes.extend((content.len() as u32).to_le_bytes());
            offset += content.len();
        }
        bytes.extend([0; ENTRY_BYTES]);
        contents
            .iter()
            .for_each(|(_, content)| bytes.extend(*content));
        bytes
    }

    fn guid(kind: CertificateKind) -> u128 {
        KINDS.iter().find(|(_, known)| *known == kind).unwrap().0
    }

    fn with(mut table: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
        table[at..at + 4].copy_from_slice(&value.to_le_bytes());
        table
    }

    #[test]
    fn reads_what_a_host_handed_over_in_text() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/snp/certtable/auxblob.bin"
        );
        let certificates = Certificates::read(&std::fs::read(path).unwrap()).unwrap();
        let lengths = [certificates.vcek, certificates.ask, certificates.ark].map(|der| {
            let der = der.unwrap();
            (der.len(), u16::from_be_bytes([der[2], der[3]]) as usize + 4)
        });
        assert!(
            lengths
                .iter()
                .all(|(length, said)| length == said && *length > 1000),
            "{lengths:?}"
        );
    }

    #[test]
    fn a_loaded_key_is_handed_on_where_there_is_no_other() {
        let vlek: (u128, &[u8]) = (guid(CertificateKind::Vlek), &[0x30, 1]);
        assert_eq!(
            Certificates::read(&table(&[vlek])).unwrap().vcek.as_deref(),
            Some(&[0x30, 1][..])
        );
        let both = Certificates::read(&table(&[vlek, (guid(CertificateKind::Vcek), DER)])).unwrap();
        assert_eq!(both.vcek.as_deref(), Some(DER));
    }

    #[test]
    fn an_empty_table_and_unknown_kinds_are_nothing() {
        for table in [
            table(&[]),
            vec![0; 4096],
            table(&[(1, b"a revocation list")]),
        ] {
            assert!(Certificates::read(&table).unwrap().is_empty());
        }
    }

    #[test]
    fn nothing_outside_of_the_table_is_ever_read() {
        let good = table(&[(guid(CertificateKind::Vcek), DER)]);
        let data = 2 * ENTRY_BYTES;
        for (at, value) in [
            (16, 0),
            (16, 24),
            (16, 47),
            (16, 49),
            (16, u32::MAX),
            (20, 4),
            (20, u32::MAX),
        ] {
            let refusal = Certificates::read(&with(good.clone(), at, value)).unwrap_err();
            assert!(
                matches!(refusal, TableError::Outside { entry: 0, from, .. } if from == data),
                "{at} {value}"
            );
        }
        let both = with(with(good.clone(), 16, u32::MAX), 20, u32::MAX);
        assert!(matches!(
            Certificates::read(&both),
            Err(TableError::Outside {
                end: 0x1_ffff_fffe,
                ..
            })
        ));
    }

    #[test]
    fn a_table_without_end_is_refused() {
        let good = table(&[(guid(CertificateKind::Vcek), DER)]);
        for length in 0..2 * ENTRY_BYTES {
            assert!(
                matches!(
                    Certificates::read(&good[..length]),
                    Err(TableError::NoEnd { .. })
                ),
                "{length}"
            );
        }
        let many = vec![(1_u128, &b""[..]); MAX_TABLE_ENTRIES];
        assert!(Certificates::read(&table(&many)).is_ok());
        let more = vec![(1_u128, &b""[..]); MAX_TABLE_ENTRIES + 1];
        let refusal = Certificates::read(&table(&more));
        assert_eq!(
            refusal,
            Err(TableError::NoEnd {
                limit: MAX_TABLE_ENTRIES
            })
        );
    }

    #[test]
    fn limits_repetition_and_encoding_are_refused_by_name() {
        let vcek = guid(CertificateKind::Vcek);
        let large = vec![0x30; MAX_CERTIFICATE_BYTES + 1];
        let size = MAX_TABLE_BYTES + 1;
        for (table, expected) in [
            (
                vec![0; size],
                TableError::Size {
                    limit: MAX_TABLE_BYTES,
                    size,
                },
            ),
            (
                table(&[(vcek, &large)]),
                TableError::CertificateSize {
                    entry: 0,
                    limit: MAX_CERTIFICATE_BYTES,
                    size: large.len(),
                },
            ),
            (
                table(&[(vcek, DER), (1, b""), (vcek, DER)]),
                TableError::Repeated { entry: 2 },
            ),
            (table(&[(vcek, b"")]), TableError::Encoding { entry: 0 }),
            (
                table(&[(vcek, b"certificate")]),
                TableError::Encoding { entry: 0 },
            ),
            (
                table(&[(
                    vcek,
                    b"-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n",
                )]),
                TableError::Encoding { entry: 0 },
            ),
        ] {
            assert_eq!(Certificates::read(&table), Err(expected));
        }
    }
}
