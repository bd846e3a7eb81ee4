//! Whether a guest is one that nobody can look into, on firmware that is new enough. Comes in: a report whose signature was
//! verified. Goes out: nothing, or why not. Never: a comparison of packed TCB versions.

use crate::snp::report::{GuestPolicy, Report};
use crate::snp::tcb::{Component, Product};

use super::expectations::MinimumTcb;
use super::published::KeyDigests;
use super::rejection::Rejection;

/// Appraises the guest policy, the privilege level, and the keys that the reference value speaks of.
///
/// # Errors
/// The first that is not as it has to be.
pub fn appraise_policy(report: &Report, keys: Option<&KeyDigests>) -> Result<(), Rejection> {
    let policy = report.policy();
    if policy.debug() {
        return Err(Rejection::Debug { policy });
    }
    if policy.migrate_ma() {
        return Err(Rejection::MigrationAgent { policy });
    }
    if policy.0 & GuestPolicy::RESERVED_ONE == 0 {
        return Err(Rejection::PolicyReservedOne { policy });
    }
    if policy.0 & GuestPolicy::RESERVED != 0 {
        return Err(Rejection::PolicyReserved { policy });
    }
    if report.vmpl() != 0 {
        return Err(Rejection::Vmpl { actual: report.vmpl() });
    }
    keys.map_or(Ok(()), |keys| appraise_keys(report, keys))
}

fn appraise_keys(report: &Report, keys: &KeyDigests) -> Result<(), Rejection> {
    if report.id_key_digest() != keys.id_key {
        let (expected, actual) = (hex::encode(keys.id_key), hex::encode(report.id_key_digest()));
        return Err(Rejection::IdKey { expected, actual });
    }
    let is_enabled = keys.author_key != [0; 48];
    if report.author_key_digest() != keys.author_key || report.author_key_enabled() != is_enabled {
        let (expected, actual) = (hex::encode(keys.author_key), hex::encode(report.author_key_digest()));
        return Err(Rejection::AuthorKey { expected, actual });
    }
    Ok(())
}

/// Appraises the TCB versions, each component for itself.
///
/// # Errors
/// The first component that is not in order.
pub fn appraise_tcb(report: &Report, product: Product, minimum: &MinimumTcb) -> Result<(), Rejection> {
    let (reported, committed) = (report.reported_tcb(product), report.committed_tcb(product));
    let (launch, current) = (report.launch_tcb(product), report.current_tcb(product));
    for component in Component::ALL {
        if let Some((reported, committed)) = reported.component(component).zip(committed.component(component))
            && reported > committed
        {
            return Err(Rejection::ReportedAboveCommitted { component, committed, reported });
        }
        if let Some((launch, current)) = launch.component(component).zip(current.component(component))
            && launch > current
        {
            return Err(Rejection::LaunchAboveCurrent { component, current, launch });
        }
        let reported = reported.component(component);
        if let Some(minimum) = minimum.of(component)
            && reported.is_none_or(|reported| reported < minimum)
        {
            return Err(Rejection::BelowMinimum { component, minimum, reported });
        }
    }
    Ok(())
}
