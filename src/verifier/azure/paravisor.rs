//! Whether Microsoft signed the program at VMPL 0 that speaks for the machine's TPM.
//!
//! * In: a report that AMD's silicon signed.
//! * Out: that the paravisor is one that Microsoft signed for confidential machines, and new
//!   enough.
//! * Never: a key by which Microsoft signs for containers: there the tenant chooses the report
//!   data, so anybody with an account could name their own key as a TPM's.
//!
//! An ID block signs the launch measurement of a guest; the report has the digest of the key that
//! signed it. Without this check anybody with an EPYC server could start their own guest and forge
//! all that follows.

use crate::snp::report::Report;

use super::rejection::AzureRejection;

/// One of Microsoft's keys for confidential virtual machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParavisorKey {
    /// The report's ID_KEY_DIGEST for this key, hex: SHA-384 of the key.
    pub digest: &'static str,
    /// The lowest GUEST_SVN that is accepted. Each key has its own.
    pub minimum_svn: u32,
}

/// The keys that are accepted. The digests, and the lowest version with each, are those of the real
/// evidence in `tests/data/snp/azure`. No list of these keys by Microsoft was found to compare them
/// with, and no advisory that names a GUEST_SVN (searched on 2026-11-30).
pub const PARAVISOR_KEYS: [ParavisorKey; 2] = [
    ParavisorKey {
        digest: "0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca49\
                 1ecdd7f336dc28a6e0b2bb57af7a44a3",
        minimum_svn: 5,
    },
    ParavisorKey {
        digest: "942fd93ebde6ea7a96efadeafc60f1c6b3d10e703b1dafd7555b92f7f3d32d0e\
                 006767648cba5b102af3d65756af4177",
        minimum_svn: 10,
    },
];

/// The first digits of the digests of Microsoft's keys for container instances. They only select
/// the message: every key that is not in [`PARAVISOR_KEYS`] is rejected.
const CONTAINER_KEYS: [&str; 3] = ["0ad79ceb", "4068e9ae", "57486a44"];

/// Appraises the key that signed the launch, and the paravisor's version.
///
/// # Errors
/// The first of them that is not accepted.
pub fn appraise(report: &Report) -> Result<ParavisorKey, AzureRejection> {
    if report.vmpl() != 0 {
        return Err(AzureRejection::ParavisorLevel {
            actual: report.vmpl(),
        });
    }
    let actual = hex::encode(report.id_key_digest());
    let Some(key) = PARAVISOR_KEYS.into_iter().find(|key| key.digest == actual) else {
        let is_of_containers = CONTAINER_KEYS.iter().any(|start| actual.starts_with(start));
        let expected = PARAVISOR_KEYS.map(|key| key.digest);
        return Err(if is_of_containers {
            AzureRejection::ContainerKey { expected, actual }
        } else {
            AzureRejection::ParavisorKey { expected, actual }
        });
    };
    if report.author_key_enabled() || report.author_key_digest() != [0; 48] {
        return Err(AzureRejection::ParavisorAuthorKey {
            actual: hex::encode(report.author_key_digest()),
        });
    }
    let (minimum, actual) = (key.minimum_svn, report.guest_svn());
    if actual < minimum {
        return Err(AzureRejection::ParavisorVersion { minimum, actual });
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORTS: [&[u8]; 4] = [
        include_bytes!("../../../tests/data/snp/azure/live-milan-v3/snp_report.bin"),
        include_bytes!("../../../tests/data/snp/azure/challenge-milan-v2/snp_report.bin"),
        include_bytes!("../../../tests/data/snp/azure/genoa-v3/snp_report.bin"),
        include_bytes!("../../../tests/data/snp/azure/coco-v0-milan-v3/snp_report.bin"),
    ];

    fn code(edit: impl Fn(&mut [u8])) -> &'static str {
        let mut bytes = REPORTS[0].to_vec();
        edit(&mut bytes);
        appraise(&Report::try_from(&bytes[..]).unwrap())
            .map_or_else(|refusal| refusal.code(), |_| "")
    }

    #[test]
    fn real_paravisors_are_believed() {
        for report in REPORTS {
            appraise(&Report::try_from(report).unwrap()).unwrap();
        }
    }

    #[test]
    fn every_other_key_is_refused_and_those_of_containers_by_name() {
        let set = |start: &'static str| {
            code(move |report| {
                report[0xe0..0x110].fill(0x11);
                hex::decode_to_slice(start, &mut report[0xe0..0xe0 + start.len() / 2]).unwrap();
            })
        };
        for start in CONTAINER_KEYS {
            assert_eq!(set(start), "paravisor-container-key");
        }
        // A digest that begins like one that is believed.
        assert_eq!(set("942fd93ebde6ea7a"), "paravisor-id-key");
        assert_eq!(
            code(|report| report[0xe0..0x110].fill(0)),
            "paravisor-id-key"
        );
        for bit in 0..48 * 8 {
            let found = code(|report| report[0xe0 + bit / 8] ^= 1 << (bit % 8));
            assert_eq!(found, "paravisor-id-key", "bit {bit}");
        }
    }

    #[test]
    fn an_author_key_and_an_old_version_are_refused() {
        assert_eq!(code(|report| report[0x13f] = 1), "paravisor-author-key");
        assert_eq!(code(|report| report[0x48] |= 1), "paravisor-author-key");
        assert_eq!(code(|report| report[4] = 9), "paravisor-svn");
        assert_eq!(code(|report| report[4] = 0), "paravisor-svn");
        assert_eq!(code(|report| report[4..8].fill(0xff)), "");
    }
}
