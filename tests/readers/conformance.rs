//! Stands in for the recorder of the verifier's tests, which writes cases for other verifiers:
//! nothing is recorded here.

use kettle::bundle::read::Bundle;
use kettle::verifier::{AttestationResult, Expectations};

use super::scene::Scene;

#[allow(dead_code)] // Nobody reads it.
pub enum Subject<'a> {
    Bundle(&'a Bundle),
}

pub fn record(_: &Subject<'_>, _: &Scene, _: &Expectations, _: &AttestationResult) {}
