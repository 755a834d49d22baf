//! How a delivery is named: so that only what was handed out can be acknowledged.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;

use super::machine::Place;

/// Bytes of a proof: whoever guesses is right once in 2^64.
const PROOF_BYTES: usize = 8;

/// A delivery of one run of a subscription, as `<partition>.<offset>.<number>.<proof>`.
///
/// The proof is the beginning of an HMAC-SHA256 over the three numbers. Its key is the id of the subscription's run, which
/// is random, stands in the cluster's own topic, and is told to nobody: so every host of the run takes it, also one that
/// never heard of the delivery, and nobody else can make it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    pub place: Place,
    /// No other delivery of the run has it.
    pub number: u64,
    proof: [u8; PROOF_BYTES],
}

impl DeliveryId {
    pub(super) fn new(run: &str, place: Place, number: u64) -> DeliveryId {
        DeliveryId { place, number, proof: prove(run, place, number) }
    }

    /// Whether it was handed out in this run.
    pub(super) fn is_of(&self, run: &str) -> bool {
        // What is compared is short, and who asks is limited by the network: the time tells nothing.
        prove(run, self.place, self.number) == self.proof
    }
}

fn prove(run: &str, place: Place, number: u64) -> [u8; PROOF_BYTES] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, run.as_bytes());
    let mac = hmac::sign(&key, format!("levada-delivery-1\n{place}.{number}").as_bytes());
    mac.as_ref()[..PROOF_BYTES].try_into().expect("a MAC is longer")
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.place, self.number, BASE64_URL_SAFE_NO_PAD.encode(self.proof))
    }
}

impl FromStr for DeliveryId {
    type Err = ();

    fn from_str(text: &str) -> Result<DeliveryId, ()> {
        let mut parts = text.rsplitn(3, '.');
        let (proof, number) = (parts.next().ok_or(())?, parts.next().ok_or(())?);
        let place = parts.next().ok_or(())?.parse()?;
        let number = number.parse().map_err(|_| ())?;
        let proof = BASE64_URL_SAFE_NO_PAD.decode(proof).map_err(|_| ())?;
        Ok(DeliveryId { place, number, proof: proof.try_into().map_err(|_| ())? })
    }
}

#[cfg(test)]
mod tests {
    use model::Offset;

    use super::*;

    const PLACE: Place = Place { partition: 6, offset: Offset(41) };

    #[test]
    fn a_delivery_is_of_the_run_that_handed_it_out_only() {
        let id = DeliveryId::new("run-1", PLACE, 8812);
        assert!(id.is_of("run-1"));
        assert!(!id.is_of("run-2"));
        let next = DeliveryId { place: Place { offset: Offset(42), ..PLACE }, ..id.clone() };
        assert!(!next.is_of("run-1"));
        assert!(!DeliveryId { number: 8813, ..id }.is_of("run-1"));
    }

    #[test]
    fn a_delivery_is_read_as_it_was_written_and_nothing_else_is_one() {
        let id = DeliveryId::new("run", PLACE, 8812);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in
            ["", "6.41", "6.41.8812", "6.41.8812.", "6.41.8812.AAAA", "-1.41.8812.AAAAAAAAAAA", "a.b.c.d"]
        {
            assert_eq!(text.parse::<DeliveryId>(), Err(()), "{text}");
        }
    }
}
