//! InitProducerId (KIP-98, KIP-360): ids for idempotent producers; with a transactional id the same one again, one
//! epoch higher.

use coordinators::transactional_ids::{Initialise, Initialised, Reject};
use model::{ProducerEpoch, ProducerId};
use wire::{ErrorCode, InitProducerIdRequest, InitProducerIdResponse};

use crate::Parts;
use crate::error::{Refusal, of_cluster, of_host};
use crate::request::Caller;

/// The first version that knows PRODUCER_FENCED (KIP-588).
const KNOWS_FENCED: i16 = 4;

/// Transactional ids of Levada's own writers begin so.
const OWN: &str = "lv.";

pub async fn handle(
    request: InitProducerIdRequest,
    caller: &Caller,
    broker: &Parts,
) -> InitProducerIdResponse {
    // What is built on Kafka here uses such ids to be a partition's only writer, and no transactions.
    let is_own = |id: &wire::Str| id.starts_with(OWN);
    if request.transactional_id.as_ref().is_some_and(|id| !is_own(id)) {
        broker.transactions_asked.note(wire::ApiKey::InitProducerId.name(), caller, &broker.metrics);
    }
    match initialise(request, broker).await {
        Ok(Initialised { id, epoch }) => {
            InitProducerIdResponse { producer_id: id.0, producer_epoch: epoch.0, ..Default::default() }
        }
        Err(refusal) => {
            let code = match refusal.code {
                ErrorCode::ProducerFenced if caller.version < KNOWS_FENCED => ErrorCode::InvalidProducerEpoch,
                code => code,
            };
            InitProducerIdResponse {
                error_code: code.into(),
                producer_id: ProducerId::NONE.0,
                producer_epoch: ProducerEpoch::NONE.0,
                ..Default::default()
            }
        }
    }
}

async fn initialise(request: InitProducerIdRequest, broker: &Parts) -> Result<Initialised, Refusal> {
    let Parts { cluster, transactional_ids, options, .. } = broker;
    let Some(transactional_id) = request.transactional_id else {
        let id = cluster.new_producer_id().await.map_err(of_cluster)?;
        return Ok(Initialised { id, epoch: ProducerEpoch(0) });
    };
    if transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest.into());
    }
    let timeout_max = i64::try_from(options.transaction_timeout_max.as_millis()).unwrap_or(i64::MAX);
    if request.transaction_timeout_ms <= 0 || i64::from(request.transaction_timeout_ms) > timeout_max {
        return Err(ErrorCode::InvalidTransactionTimeout.into());
    }
    let current = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(ErrorCode::InvalidRequest.into()),
        (id, epoch) => Some((ProducerId(id), ProducerEpoch(epoch))),
    };
    let host = transactional_ids.of(&transactional_id).await.map_err(|error| of_host(error, rejected))?;
    let command = Initialise {
        transactional_id: transactional_id.to_string(),
        transaction_timeout_ms: request.transaction_timeout_ms,
        current,
        fresh: cluster.new_producer_id().await.map_err(of_cluster)?,
    };
    host.decide(command).await.map_err(|error| of_host(error, rejected))
}

fn rejected(reject: Reject) -> Refusal {
    match reject {
        Reject::Fenced => ErrorCode::ProducerFenced.into(),
    }
}
