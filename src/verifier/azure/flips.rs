//! No single bit of real evidence can change.
//!
//! A full verification of each change would take minutes, most of it on parts that did not change.
//! So each change goes to the one layer that it can concern. All other layers see the same input as
//! before, because their inputs are compared first:
//!
//! 1. the document: refused, or its parts are another report, another certificate, or another HCL
//!    report or quote;
//! 2. another report: AMD's signature is verified, in full;
//! 3. another certificate: the chain to AMD's root is verified, then the binding, then the report
//!    by its key;
//! 4. the same report and certificate: the claims, the quote and the registers are verified.
//!
//! A change that gives the same parts as before would be accepted, and so fails the test.

use std::thread;

use super::super::binding;
use super::super::certificate::Certificate;
use super::super::endorsements::TrustRoots;
use super::super::envelope::Evidence;
use super::super::rejection::{Rejection, Role};
use super::super::signature;
use super::{HclReport, TpmEvidence, bound_claims, paravisor};
use crate::snp::report::Report;

const DOCUMENT: &[u8] = include_bytes!("../../../tests/data/snp/azure/live-milan-v3/evidence.json");
const HCL: &[u8] = include_bytes!("../../../tests/data/snp/azure/live-milan-v3/hcl_report.bin");
/// 2026-09-01T00:00:00Z.
const MOMENT: u64 = 1_788_220_800;

struct Scene {
    good: Evidence,
    certificate: Certificate,
    roots: TrustRoots,
}

impl Scene {
    fn new() -> Self {
        let good = Evidence::read(DOCUMENT).unwrap();
        let certificate =
            Certificate::read(good.certificate.as_ref().unwrap(), Role::Leaf).unwrap();
        Self {
            good,
            certificate,
            roots: TrustRoots::amd().unwrap(),
        }
    }

    fn tpm(&self) -> &TpmEvidence {
        self.good.tpm.as_deref().unwrap()
    }

    /// Verifies the layer that differs from the good evidence.
    fn verify(&self, changed: &Evidence) -> Result<(), Rejection> {
        if changed.report != self.good.report {
            return self.verify_report(&changed.report);
        }
        if changed.certificate != self.good.certificate {
            return self.verify_certificate(changed.certificate.as_deref().unwrap_or_default());
        }
        let tpm = changed.tpm.as_deref().unwrap();
        assert!(tpm != self.tpm(), "nothing changed");
        verify_tpm(&changed.report, tpm)
    }

    fn verify_report(&self, report: &Report) -> Result<(), Rejection> {
        signature::verify(report, &self.certificate).map(drop)
    }

    fn verify_certificate(&self, bytes: &[u8]) -> Result<(), Rejection> {
        let leaf = Certificate::read(bytes, Role::Leaf)?;
        let endorsed = self.roots.verify(&leaf, None, MOMENT)?;
        binding::verify(&self.good.report, &leaf, Some(endorsed))?;
        signature::verify(&self.good.report, &leaf).map(drop)
    }
}

fn verify_tpm(report: &Report, tpm: &TpmEvidence) -> Result<(), Rejection> {
    paravisor::appraise(report)?;
    let claims = bound_claims(report, &tpm.hcl)?;
    tpm.quote.verify(&claims.attestation_key)?;
    Ok(())
}

/// Calls `check` for every bit of `bytes` bytes, on two threads.
fn every_bit(bytes: usize, check: impl Fn(usize, u8) + Sync) {
    let (check, half) = (&check, bytes / 2);
    let run = |range: std::ops::Range<usize>| {
        range.for_each(|byte| (0..8).for_each(|bit| check(byte, 1 << bit)))
    };
    thread::scope(|scope| {
        scope.spawn(|| run(0..half));
        run(half..bytes);
    });
}

fn flipped(bytes: &[u8], byte: usize, mask: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[byte] ^= mask;
    changed
}

#[test]
fn the_layers_together_accept_what_did_not_change() {
    let scene = Scene::new();
    scene.verify_report(&scene.good.report).unwrap();
    scene
        .verify_certificate(scene.good.certificate.as_deref().unwrap())
        .unwrap();
    verify_tpm(&scene.good.report, scene.tpm()).unwrap();
}

#[test]
fn no_flipped_bit_of_a_real_document_is_accepted() {
    let scene = Scene::new();
    every_bit(DOCUMENT.len(), |byte, mask| {
        if let Ok(changed) = Evidence::read(&flipped(DOCUMENT, byte, mask)) {
            assert!(
                scene.verify(&changed).is_err(),
                "byte {byte}, mask {mask:#x}"
            );
        }
    });
}

#[test]
fn no_flipped_bit_of_the_parts_of_real_evidence_is_accepted() {
    let scene = Scene::new();
    let (report, certificate) = (
        scene.good.report.as_bytes(),
        scene.good.certificate.as_deref().unwrap(),
    );
    every_bit(report.len(), |byte, mask| {
        let changed = Report::try_from(&flipped(report, byte, mask)[..]).unwrap();
        assert!(
            scene.verify_report(&changed).is_err(),
            "byte {byte}, mask {mask:#x} of the report"
        );
    });
    every_bit(certificate.len(), |byte, mask| {
        let changed = flipped(certificate, byte, mask);
        assert!(
            scene.verify_certificate(&changed).is_err(),
            "byte {byte}, mask {mask:#x} of the certificate"
        );
    });
    let quote = &scene.tpm().quote;
    let refuses = |tpm: &TpmEvidence| verify_tpm(&scene.good.report, tpm).is_err();
    every_bit(HCL.len(), |byte, mask| {
        let Ok(hcl) = HclReport::read(&flipped(HCL, byte, mask)) else {
            return;
        };
        // The report has its own turn above.
        let is_refused = hcl.report() != &scene.good.report
            || refuses(&TpmEvidence {
                hcl,
                quote: quote.clone(),
            });
        assert!(is_refused, "byte {byte}, mask {mask:#x} of the HCL report");
    });
    every_bit(quote.message.len(), |byte, mask| {
        let mut tpm = scene.tpm().clone();
        tpm.quote.message[byte] ^= mask;
        assert!(refuses(&tpm), "byte {byte}, mask {mask:#x} of the quote");
    });
    every_bit(quote.signature.len(), |byte, mask| {
        let mut tpm = scene.tpm().clone();
        tpm.quote.signature[byte] ^= mask;
        assert!(
            refuses(&tpm),
            "byte {byte}, mask {mask:#x} of the quote's signature"
        );
    });
    every_bit(quote.registers.as_flattened().len(), |byte, mask| {
        let mut tpm = scene.tpm().clone();
        tpm.quote.registers.as_flattened_mut()[byte] ^= mask;
        assert!(
            refuses(&tpm),
            "byte {byte}, mask {mask:#x} of the registers"
        );
    });
}
