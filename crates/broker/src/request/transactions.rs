//! Whoever asks for transactions while there are none is told to the operator: once for each client in the log, and every
//! time in a metric. Some clients (librdkafka) say nothing themselves and hang for their whole timeout.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

use parking_lot::Mutex;
use wire::{ApiKey, Str};

use super::Caller;
use crate::metrics::Metrics;

/// How many clients are remembered as told; after that the first is forgotten, and told again.
const TOLD_MAX: usize = 1000;

type Client = (Option<Str>, IpAddr);

#[derive(Default)]
pub struct TransactionsAsked {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    clients: HashSet<Client>,
    order: VecDeque<Client>,
}

impl TransactionsAsked {
    pub fn note(&self, api: &'static str, caller: &Caller, metrics: &Metrics) {
        metrics.transactions_asked();
        let address = caller.ends.peer.ip().to_canonical();
        if !self.told.lock().is_first((caller.client_id.clone(), address)) {
            return;
        }
        tracing::warn!(
            client_id = caller.client_id.as_deref().unwrap_or_default(),
            %address,
            api,
            "a client asks for transactions, which are not served yet: it will fail or hang until it goes without \
             `transactional.id`"
        );
    }
}

impl Told {
    fn is_first(&mut self, client: Client) -> bool {
        if !self.clients.insert(client.clone()) {
            return false;
        }
        self.order.push_back(client);
        if self.order.len() > TOLD_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.clients.remove(&oldest);
        }
        true
    }
}

/// The APIs of transactions that are not served.
pub fn is_of_transactions(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn | ApiKey::EndTxn | ApiKey::TxnOffsetCommit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_once_and_no_more_than_so_many_are_remembered() {
        let mut told = Told::default();
        let client = |number: usize| (Some(format!("client-{number}").into()), IpAddr::from([127, 0, 0, 1]));
        assert!(told.is_first(client(0)));
        assert!(!told.is_first(client(0)));
        assert!(told.is_first((Some("client-0".into()), IpAddr::from([127, 0, 0, 2]))));
        for number in 1..3 * TOLD_MAX {
            assert!(told.is_first(client(number)));
        }
        assert_eq!((told.clients.len(), told.order.len()), (TOLD_MAX, TOLD_MAX));
        assert!(told.is_first(client(0)), "it was forgotten");
    }
}
