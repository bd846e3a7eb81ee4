//! Whether the host is kept out of the guest, by firmware that is new enough.
//!
//! * In: a report whose signature was verified.
//! * Out: nothing, or the first rejection; and what the firmware leaves open.
//! * Never: a comparison of packed TCB versions.

use crate::snp::report::{GuestPolicy, Processor, Report};
use crate::snp::tcb::{Component, Product, TcbVersion};

use super::expectations::MinimumTcb;
use super::floor::{Floor, ProductFloor, TcbFloor, components};
use super::published::KeyDigests;
use super::rejection::Rejection;
use super::signature::VerifiedReport;

/// Appraises the guest policy, the privilege level, and the keys that the reference value names.
///
/// # Errors
/// The first of them that is not as required.
pub fn appraise_policy(
    report: VerifiedReport<'_>,
    keys: Option<&KeyDigests>,
) -> Result<(), Rejection> {
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
        return Err(Rejection::Vmpl {
            actual: report.vmpl(),
        });
    }
    keys.map_or(Ok(()), |keys| appraise_keys(&report, keys))
}

fn appraise_keys(report: &Report, keys: &KeyDigests) -> Result<(), Rejection> {
    if report.id_key_digest() != keys.id_key {
        let (expected, actual) = (
            hex::encode(keys.id_key),
            hex::encode(report.id_key_digest()),
        );
        return Err(Rejection::IdKey { expected, actual });
    }
    let is_enabled = keys.author_key != [0; 48];
    if report.author_key_digest() != keys.author_key || report.author_key_enabled() != is_enabled {
        let (expected, actual) = (
            hex::encode(keys.author_key),
            hex::encode(report.author_key_digest()),
        );
        return Err(Rejection::AuthorKey { expected, actual });
    }
    Ok(())
}

/// Appraises the TCB versions, each component by itself, and that the firmware reports no memory
/// with two addresses.
///
/// # Errors
/// The first component whose versions contradict each other or are too old; then an alias check
/// that is not complete.
pub fn appraise_tcb(
    report: VerifiedReport<'_>,
    product: Product,
    minimum: &MinimumTcb,
) -> Result<(), Rejection> {
    let tcb = Tcb {
        report: &report,
        product,
        minimum,
        floor: TcbFloor::compiled_in().of(product),
    };
    tcb.appraise_order()?;
    tcb.appraise_minimum()?;
    tcb.appraise_alias_check()
}

/// Returns the lowest versions that were accepted, and what the firmware of an accepted report
/// leaves open.
pub fn established(
    report: VerifiedReport<'_>,
    product: Product,
    minimum: &MinimumTcb,
) -> Established {
    let tcb = Tcb {
        report: &report,
        product,
        minimum,
        floor: TcbFloor::compiled_in().of(product),
    };
    Established {
        minimum: tcb.minimum(),
        open: tcb.open(),
    }
}

/// What an accepted report establishes of the firmware.
#[derive(Debug)]
pub struct Established {
    /// The lowest versions that were accepted, each with the origin of the number.
    pub minimum: String,
    /// What is not established, one sentence each.
    pub open: Vec<String>,
}

/// A report with the demands on its firmware.
struct Tcb<'a> {
    report: &'a Report,
    product: Product,
    minimum: &'a MinimumTcb,
    /// The product's floors; none for a product without any.
    floor: Option<&'a ProductFloor>,
}

/// The lowest version of a component that is accepted.
enum Demand<'a> {
    Given(u8),
    Floor(&'a Floor),
}

impl<'a> Tcb<'a> {
    fn reported(&self) -> TcbVersion {
        self.report.reported_tcb(self.product)
    }

    /// Appraises that each component's reported version is at most its committed one, and its
    /// launch version at most its current one.
    fn appraise_order(&self) -> Result<(), Rejection> {
        let (reported_tcb, committed_tcb) =
            (self.reported(), self.report.committed_tcb(self.product));
        let (launch_tcb, current_tcb) = (
            self.report.launch_tcb(self.product),
            self.report.current_tcb(self.product),
        );
        for component in Component::ALL {
            let version = |tcb: TcbVersion| tcb.component(component);
            if let (Some(reported), Some(committed)) =
                (version(reported_tcb), version(committed_tcb))
                && reported > committed
            {
                return Err(Rejection::ReportedAboveCommitted {
                    component,
                    committed,
                    reported,
                });
            }
            if let (Some(launch), Some(current)) = (version(launch_tcb), version(current_tcb))
                && launch > current
            {
                return Err(Rejection::LaunchAboveCurrent {
                    component,
                    current,
                    launch,
                });
            }
        }
        Ok(())
    }

    fn appraise_minimum(&self) -> Result<(), Rejection> {
        for component in Component::ALL {
            let reported = self.reported().component(component);
            let is_below = |minimum| reported.is_none_or(|reported| reported < minimum);
            match self.demand(component) {
                Some(Demand::Given(minimum)) if is_below(minimum) => {
                    return Err(Rejection::BelowMinimum {
                        component,
                        minimum,
                        reported,
                    });
                }
                Some(Demand::Floor(floor)) if is_below(floor.minimum) => {
                    let (floor, unlisted) = (Box::new(floor.clone()), self.unlisted(component));
                    return Err(Rejection::BelowFloor {
                        component,
                        floor,
                        unlisted,
                        reported,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the lowest version that is accepted: the reader's, else the floor, unless the reader
    /// takes any firmware.
    fn demand(&self, component: Component) -> Option<Demand<'a>> {
        if let Some(minimum) = self.minimum.of(component) {
            return Some(Demand::Given(minimum));
        }
        if self.minimum.takes_any() {
            None
        } else {
            self.floor_of(component).map(Demand::Floor)
        }
    }

    fn floor_of(&self, component: Component) -> Option<&'a Floor> {
        self.floor?.of(component, self.report.processor())
    }

    /// Returns the processor, if the report names one and the floor of the component has no value
    /// for it.
    fn unlisted(&self, component: Component) -> Option<Processor> {
        let processor = self.report.processor();
        processor.filter(|_| {
            self.floor
                .is_some_and(|floor| !floor.lists(component, processor))
        })
    }

    /// Appraises the alias check. The firmware that writes PLATFORM_INFO is the current one. It
    /// looks for aliases since the version in the floor, so a report with that version, reported or
    /// current, must have the bit.
    fn appraise_alias_check(&self) -> Result<(), Rejection> {
        let platform_info = self.report.platform_info();
        let Some(since) = self.alias_check() else {
            return Ok(());
        };
        if self.looks_for_aliases(since) && !platform_info.alias_check_complete() {
            return Err(Rejection::AliasCheck {
                since: Box::new(since.clone()),
                platform_info,
            });
        }
        Ok(())
    }

    fn alias_check(&self) -> Option<&'a Floor> {
        self.floor?.alias_check.as_ref()
    }

    fn looks_for_aliases(&self, since: &Floor) -> bool {
        let current = self
            .report
            .current_tcb(self.product)
            .component(Component::Snp);
        current.max(self.reported().component(Component::Snp)) >= Some(since.minimum)
    }

    /// Returns the lowest accepted versions as the claim `minimum_tcb` shows them.
    fn minimum(&self) -> String {
        if self.minimum.takes_any() {
            return "none".to_owned();
        }
        let demanded = components(self.product).filter_map(|component| {
            Some(match self.demand(component)? {
                Demand::Given(minimum) => format!("{component}={minimum} (given)"),
                Demand::Floor(Floor { minimum, advisory }) => {
                    format!("{component}={minimum} ({advisory})")
                }
            })
        });
        demanded.collect::<Vec<_>>().join(", ")
    }

    /// Returns one sentence for each thing that is not established.
    fn open(&self) -> Vec<String> {
        let mut open = self.open_versions();
        let without_value = self
            .floor
            .into_iter()
            .flat_map(|floor| &floor.without_value);
        open.extend(without_value.map(|(advisory, reason)| {
            format!("whether the firmware answers {advisory} is not known: {reason}")
        }));
        match self.alias_check() {
            None => open.push(format!(
                "since which firmware {} looks for memory with two addresses is not known",
                self.product
            )),
            Some(since) if !self.looks_for_aliases(since) => open.push(format!(
                "whether memory has two addresses is not known: firmware before snp={} does not \
                 look ({})",
                since.minimum, since.advisory
            )),
            Some(_) => {}
        }
        open
    }

    fn open_versions(&self) -> Vec<String> {
        if self.minimum.takes_any() {
            return vec![
                "no version of the firmware was asked for (--min-tcb none): old firmware is \
                 accepted"
                    .to_owned(),
            ];
        }
        let mut open = Vec::new();
        let mut unknown = Vec::new();
        for component in components(self.product) {
            match (self.minimum.of(component), self.floor_of(component)) {
                (None, None) => unknown.push(component.name()),
                (Some(given), Some(floor)) if given < floor.minimum => open.push(format!(
                    "{component} may be as old as {given} (--min-tcb), the floor is {} ({})",
                    floor.minimum, floor.advisory
                )),
                (None, Some(floor)) => open.extend(self.unlisted(component).map(|processor| {
                    format!(
                        "which {component} {processor} needs is not known: {} was asked for, the \
                         most of any {}",
                        floor.minimum, self.product
                    )
                })),
                _ => {}
            }
        }
        if !unknown.is_empty() {
            let (names, product) = (unknown.join(", "), self.product);
            open.push(match self.report.processor() {
                Some(processor) => {
                    format!("no floor is known for {names} of {product} ({processor})")
                }
                None => format!("no floor is known for {names} of {product}"),
            });
        }
        open
    }
}
