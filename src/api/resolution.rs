//! Decides which client may have a ref resolved, and when.
//!
//! * In: the address of a client that submits a repository.
//! * Out: a turn, of which there is one at a time.
//! * Never: more tries than an address may have, or memory that grows with the number of addresses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use hyper::header;

use super::limits::{MAX_REF_ADDRESSES, MAX_REF_TRIES, REF_RETRY};
use super::problem::Problem;

/// The address of a client; `None` where the kernel does not know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub Option<IpAddr>);

/// Counts the refs that were resolved for each client.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    is_busy: Rc<Cell<bool>>,
    tries: RefCell<BTreeMap<Option<IpAddr>, usize>>,
}

/// The one turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Rc<Cell<bool>>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Resolutions {
    /// Returns the turn for a client.
    ///
    /// # Errors
    /// Another submission has the turn, or this client has had too many.
    pub fn begin(&self, peer: Option<&Peer>) -> Result<Turn, Problem> {
        if self.is_busy.get() {
            let problem = Problem::new(
                429,
                "ref-being-resolved",
                "the ref of another submission is being resolved; try again in a few seconds",
            );
            let seconds = REF_RETRY.as_secs().to_string();
            return Err(problem.with(header::RETRY_AFTER, &seconds));
        }
        self.count(peer.and_then(|Peer(address)| *address))?;
        self.is_busy.set(true);
        Ok(Turn(Rc::clone(&self.is_busy)))
    }

    fn count(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let mut tries = self.tries.borrow_mut();
        let is_known = tries.contains_key(&address);
        if !is_known && tries.len() == MAX_REF_ADDRESSES {
            return Err(too_many("addresses", MAX_REF_ADDRESSES));
        }
        let count = tries.entry(address).or_default();
        if *count == MAX_REF_TRIES {
            return Err(too_many("submissions of one address", MAX_REF_TRIES));
        }
        *count += 1;
        Ok(())
    }
}

fn too_many(what: &str, limit: usize) -> Problem {
    Problem::new(
        429,
        "too-many-refs",
        format!(
            "this machine resolves refs for at most {limit} {what}; an archive is still accepted"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(last: u16) -> Peer {
        let [high, low] = last.to_be_bytes();
        Peer(Some(IpAddr::V4(Ipv4Addr::new(192, 0, high, low))))
    }

    fn status(turn: Result<Turn, Problem>) -> u16 {
        turn.unwrap_err().into_response().status().as_u16()
    }

    #[test]
    fn one_client_has_the_turn_and_another_learns_when_to_try_again() {
        let resolutions = Resolutions::default();
        let turn = resolutions.begin(Some(&peer(1))).unwrap();
        let refusal = resolutions
            .begin(Some(&peer(2)))
            .unwrap_err()
            .into_response();
        assert_eq!(refusal.status(), 429);
        assert!(refusal.headers().contains_key(header::RETRY_AFTER));
        drop(turn);
        assert!(resolutions.begin(Some(&peer(2))).is_ok());
    }

    #[test]
    fn tries_of_an_address_and_addresses_are_limited() {
        let resolutions = Resolutions::default();
        for _ in 0..MAX_REF_TRIES {
            assert!(resolutions.begin(Some(&peer(1))).is_ok());
        }
        assert_eq!(status(resolutions.begin(Some(&peer(1)))), 429);
        for other in 2..=MAX_REF_ADDRESSES {
            let other = u16::try_from(other).unwrap();
            assert!(resolutions.begin(Some(&peer(other))).is_ok());
        }
        assert_eq!(status(resolutions.begin(Some(&peer(60_000)))), 429);
        assert!(resolutions.begin(Some(&peer(2))).is_ok());
    }
}
