//! ListTransactions (KIP-664, KIP-994): the transactional ids that producers have asked for. None of them has a
//! transaction, so all are `Empty`, as in Kafka before a producer's first one.

use std::collections::BTreeSet;

use coordinators::transactional_ids::{Reject, TransactionalIds};
use env::Clock;
use wire::list_transactions::TransactionState;
use wire::{ErrorCode, ListTransactionsRequest, ListTransactionsResponse, Str};

use crate::error::of_host;
use crate::hosting::Coordinator;

const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub async fn handle(
    request: ListTransactionsRequest,
    transactional_ids: &Coordinator<TransactionalIds>,
    clock: &dyn Clock,
) -> ListTransactionsResponse {
    let (known, unknown): (Vec<Str>, Vec<Str>) =
        request.state_filters.iter().cloned().partition(|state| STATES.contains(&&**state));
    let listed = match list(transactional_ids).await {
        Ok(listed) => listed,
        Err(error_code) => return ListTransactionsResponse { error_code, ..Default::default() },
    };
    // As in Kafka, what never began has been going on since 1970.
    let is_long = request.duration_filter < 0 || clock.now().0 > request.duration_filter;
    let known: BTreeSet<Str> = known.into_iter().collect();
    let producers: BTreeSet<i64> = request.producer_id_filters.iter().copied().collect();
    let wanted = |listed: &TransactionState| {
        (request.state_filters.is_empty() || known.contains(&listed.transaction_state))
            && (producers.is_empty() || producers.contains(&listed.producer_id))
            && is_long
    };
    ListTransactionsResponse {
        unknown_state_filters: unknown,
        transaction_states: listed.into_iter().filter(wanted).collect(),
        ..Default::default()
    }
}

async fn list(transactional_ids: &Coordinator<TransactionalIds>) -> Result<Vec<TransactionState>, i16> {
    let code = |error| of_host(error, |_: Reject| ErrorCode::UnknownServerError.into()).code();
    let mut listed = Vec::new();
    for host in transactional_ids.all().await.map_err(code)? {
        let of_host: Vec<TransactionState> = host
            .query(|ids| {
                let state =
                    |(id, producer): (&str, &coordinators::transactional_ids::Producer)| TransactionState {
                        transactional_id: id.into(),
                        producer_id: producer.id.0,
                        transaction_state: STATES[0].into(),
                        ..Default::default()
                    };
                ids.all().map(state).collect()
            })
            .await
            .map_err(code)?;
        listed.extend(of_host);
    }
    Ok(listed)
}
