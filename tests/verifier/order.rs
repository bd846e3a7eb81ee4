//! Which checks run after a rejection, what does a waiver do, and what does not matter?

use kettle::verifier::{AttestationResult, Check, NOT_ESTABLISHED, Outcome, Waivable};

use super::hierarchy::{Crl, keys, pem};
use super::rejections::revoked;
use super::scene::{MICROCODE, SNP, Scene};

fn names(scene: &Scene) -> Vec<&'static str> {
    scene
        .verify()
        .outcomes()
        .map(|(_, outcome)| outcome.name())
        .collect()
}

#[test]
fn a_good_bundle_is_accepted_with_claims() {
    let result = Scene::good().verify();
    assert!(result.is_accepted(), "{result:?}");
    assert_eq!(result.claims()["commit"], "ab".repeat(20));
    assert_eq!(result.claims()["product"], "Genoa");
    assert!(matches!(
        result.outcome(Check::Expectations),
        Outcome::NotChecked
    ));
}

#[test]
fn without_a_nonce_it_is_not_checked_and_accepted() {
    let mut scene = Scene::good();
    scene.edit_expectations = Box::new(|expectations| expectations.nonce = None);
    let result = scene.verify();
    assert!(result.is_accepted() && matches!(result.outcome(Check::Nonce), Outcome::NotChecked));
}

#[test]
fn an_option_that_nobody_expected_is_said_and_refused_where_the_reader_wants_none() {
    const OPTIONS: &str = "/predicate/buildDefinition/externalParameters";
    let mut scene = Scene::good();
    scene.statement.pointer_mut(OPTIONS).unwrap()["options"] =
        serde_json::json!({"features": ["a", "b"], "noDefaultFeatures": true});
    let result = scene.verify();
    assert!(
        result.is_accepted() && matches!(result.outcome(Check::Expectations), Outcome::NotChecked),
        "{result:?}"
    );
    let expected = serde_json::json!({"features": "a,b", "noDefaultFeatures": "true"});
    assert_eq!(result.claims()["options"], expected);
    let said = |result: &AttestationResult| {
        let open = result.claims()[NOT_ESTABLISHED].as_array().unwrap().iter();
        let open: Vec<_> = open
            .filter_map(|open| open.as_str()?.strip_prefix("expectations: "))
            .collect();
        open.join("; ")
    };
    let both = "nobody asked for the option features=a,b; nobody asked for the option noDefaultFeatures=true";
    assert_eq!(said(&result), both);
    for (given, no_others, outcome, left) in [
        (
            &["features=a,b"][..],
            false,
            "pass",
            "nobody asked for the option noDefaultFeatures=true",
        ),
        (
            &["features=a,b", "noDefaultFeatures=true"],
            true,
            "pass",
            "",
        ),
        (
            &["features=b,a", "noDefaultFeatures=true"],
            true,
            "reject",
            "",
        ),
        (
            &["features=a,b", "noDefaultFeatures=true", "path=p"],
            false,
            "reject",
            "",
        ),
        (&["features=a,b"], true, "reject", ""),
        (&[], true, "reject", ""),
    ] {
        scene.edit_expectations = Box::new(move |expectations| {
            expectations.options = given.iter().map(|option| option.parse().unwrap()).collect();
            expectations.no_other_options = no_others;
        });
        let result = scene.verify();
        assert_eq!(
            result.outcome(Check::Expectations).name(),
            outcome,
            "{given:?} {no_others}: {result:?}"
        );
        assert!(
            outcome == "reject" || said(&result) == left,
            "{given:?}: {}",
            said(&result)
        );
    }
    let mut plain = Scene::good();
    plain.edit_expectations = Box::new(|expectations| expectations.no_other_options = true);
    assert!(matches!(
        plain.verify().outcome(Check::Expectations),
        Outcome::Pass
    ));
}

#[test]
fn expectations_that_hold_pass() {
    let mut scene = Scene::good();
    scene.edit_expectations = Box::new(|expectations| {
        expectations.repository = Some("HTTPS://EXAMPLE.org/project/".to_owned());
        expectations.reference = Some("v1".to_owned());
        expectations.commit = Some("AB".repeat(20).parse().unwrap());
    });
    assert!(matches!(
        scene.verify().outcome(Check::Expectations),
        Outcome::Pass
    ));
}

#[test]
fn after_a_bundle_that_cannot_be_read_nothing_is_reached() {
    let mut scene = Scene::good();
    scene.edit_bundle = Box::new(|bundle| bundle.evidence = None);
    assert_eq!(
        names(&scene),
        [&["reject"][..], &["not-reached"; 12]].concat()
    );
}

#[test]
fn nothing_that_an_unverified_report_says_is_appraised() {
    let mut scene = Scene::good();
    scene.edit_signed_report = Box::new(|report| report[0x30] = 1);
    let expected = [
        "pass",
        "pass",
        "pass",
        "reject",
        "not-reached",
        "not-reached",
        "not-reached",
        "not-reached",
        "not-reached",
    ];
    assert_eq!(
        names(&scene),
        [
            &expected[..],
            &["pass", "not-checked", "not-checked", "pass"]
        ]
        .concat()
    );
}

#[test]
fn otherwise_every_reason_is_shown_at_once() {
    let mut scene = Scene::good();
    scene.edit_report = Box::new(|report| {
        report[0x30] = 1;
        report[0x1e0] = 3;
        report[0x90] ^= 1;
        report[0x50] ^= 1;
    });
    scene.statement["_type"] = "other".into();
    scene.edit_bundle = Box::new(|bundle| bundle.log = None);
    let expected = [
        "pass",
        "pass",
        "pass",
        "pass",
        "reject",
        "reject",
        "reject",
        "reject",
        "pass",
        "reject",
        "not-checked",
        "not-checked",
        "reject",
    ];
    assert_eq!(names(&scene), expected);
}

#[test]
fn a_waived_check_says_what_it_would_have_said() {
    let mut scene = Scene::good();
    scene.edit_report = Box::new(|report| {
        report[0x30] = 1;
        report[0x1a0] ^= 1;
    });
    scene.edit_expectations = Box::new(|expectations| {
        expectations.waived.extend([
            Waivable::GuestPolicy,
            Waivable::CertificateBinding,
            Waivable::Tcb,
        ]);
    });
    let result = scene.verify();
    assert!(result.is_accepted());
    let said = |check| {
        result
            .outcome(check)
            .rejection()
            .map(|rejection| rejection.code())
    };
    assert_eq!(said(Check::GuestPolicy), Some("vmpl"));
    assert_eq!(said(Check::CertificateBinding), Some("chip-id-mismatch"));
    assert!(matches!(result.outcome(Check::Tcb), Outcome::Waived(None)));
}

#[test]
fn a_waiver_does_not_cover_a_revoked_measurement() {
    let mut scene = Scene::good();
    scene.edit_report = Box::new(|report| report[0x90] ^= 1);
    scene.edit_expectations =
        Box::new(|expectations| expectations.waived.extend([Waivable::LaunchMeasurement]));
    assert!(scene.verify().is_accepted(), "an unknown one is covered");
    scene.edit_report = Box::new(|report| report[0x90..0xc0].copy_from_slice(revoked().as_bytes()));
    let result = scene.verify();
    let Outcome::Reject(rejection) = result.outcome(Check::LaunchMeasurement) else {
        panic!("{result:?}")
    };
    assert_eq!(rejection.code(), "measurement-revoked");
    assert!(!result.is_accepted() && result.claims().is_empty());
}

#[test]
fn roots_that_a_bundle_carries_are_ignored() {
    let mut scene = Scene::good();
    scene.edit_bundle = Box::new(|bundle| {
        let text = String::from_utf8(bundle.evidence.take().unwrap()).unwrap();
        bundle.evidence = Some(
            text.replace("\"ark\":null", "\"ark\":\"no certificate\"")
                .into_bytes(),
        );
    });
    assert!(scene.verify().is_accepted());
}

#[test]
fn a_given_certificate_takes_precedence() {
    let good = Scene::good().leaf_der();
    let mut scene = Scene::good();
    scene.leaf_signer = &keys().other;
    assert!(!scene.verify().is_accepted());
    scene.edit_expectations = Box::new(move |expectations| {
        expectations.certificate = Some(pem("CERTIFICATE", &good).into_bytes())
    });
    assert!(scene.verify().is_accepted());
}

#[test]
fn a_list_that_revokes_others_is_no_obstacle() {
    let der = Crl::default().signed(&keys().ark);
    for list in [der.clone(), pem("X509 CRL", &der).into_bytes()] {
        let mut scene = Scene::good();
        scene.edit_expectations =
            Box::new(move |expectations| expectations.crl = Some(list.clone()));
        assert!(scene.verify().is_accepted());
    }
}

#[test]
fn white_space_and_order_of_keys_do_not_matter() {
    let mut scene = Scene::good();
    scene.provenance = Some(serde_json::to_vec_pretty(&scene.statement).unwrap());
    assert!(scene.verify().is_accepted());
}

#[test]
fn a_turin_report_has_its_own_layout() {
    let mut scene = Scene::good();
    scene.edit_report = Box::new(|report| {
        report[0x188..0x18b].copy_from_slice(&[0x1a, 2, 1]);
        report[0x1a8..0x1e0].fill(0);
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            report[offset..offset + 8].copy_from_slice(&[9, 4, 0, SNP, 0, 0, 0, MICROCODE]);
        }
    });
    for id in ["3.4", "3.5", "3.6", "3.7"] {
        scene.set_extension(&format!("1.3.6.1.4.1.3704.1.{id}"), None);
    }
    scene.set_extension("1.3.6.1.4.1.3704.1.3.9", Some(vec![2, 1, 9]));
    scene.set_extension(
        "1.3.6.1.4.1.3704.1.2",
        Some(vec![0x16, 5, b'T', b'u', b'r', b'i', b'n']),
    );
    scene.set_extension("1.3.6.1.4.1.3704.1.4", Some(vec![0xc1; 8]));
    let result = scene.verify();
    assert!(result.is_accepted(), "{result:?}");
}

#[test]
fn a_vlek_signs_without_a_chip_id() {
    let mut scene = Scene::good();
    scene.of_a_cloud();
    let result = scene.verify();
    assert!(result.is_accepted(), "{result:?}");
}

#[test]
fn the_twin_of_a_signature_is_as_good() {
    use p384::elliptic_curve::PrimeField as _;
    let mut scene = Scene::good();
    scene.edit_signed_report = Box::new(|report| {
        let mut s: [u8; 48] = report[0x2e8..0x318].try_into().unwrap();
        s.reverse();
        let twin = -p384::Scalar::from_repr(s.into()).unwrap();
        let mut twin: [u8; 48] = twin.to_repr().into();
        twin.reverse();
        report[0x2e8..0x318].copy_from_slice(&twin);
    });
    assert!(scene.verify().is_accepted());
}
