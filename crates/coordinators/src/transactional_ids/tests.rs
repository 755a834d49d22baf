use super::*;

fn initialise(
    state: &mut TransactionalIds,
    current: Option<(i64, i16)>,
    fresh: i64,
) -> Result<(i64, i16), Reject> {
    let command = Initialise {
        transactional_id: "t".into(),
        transaction_timeout_ms: 60_000,
        current: current.map(|(id, epoch)| (ProducerId(id), ProducerEpoch(epoch))),
        fresh: ProducerId(fresh),
    };
    let decision = state.decide(command, Timestamp(1))?;
    decision.records.iter().for_each(|record| state.apply(record));
    Ok((decision.reply.id.0, decision.reply.epoch.0))
}

#[test]
fn kafka_39_the_same_name_keeps_its_id_and_raises_its_epoch() {
    let mut state = TransactionalIds::default();
    assert_eq!(initialise(&mut state, None, 7), Ok((7, 0)));
    assert_eq!(initialise(&mut state, None, 8), Ok((7, 1)));
    assert_eq!(initialise(&mut state, None, 9), Ok((7, 2)));
}

#[test]
fn kafka_32_a_recovering_producer_bumps_once_and_its_retry_gets_the_same_answer() {
    let mut state = TransactionalIds::default();
    initialise(&mut state, None, 7).unwrap();
    assert_eq!(initialise(&mut state, Some((7, 0)), 8), Ok((7, 1)));
    assert_eq!(initialise(&mut state, Some((7, 0)), 8), Ok((7, 1)));
    assert_eq!(initialise(&mut state, Some((7, 1)), 8), Ok((7, 2)));
    assert_eq!(initialise(&mut state, Some((7, 0)), 8), Err(Reject::Fenced));
    assert_eq!(initialise(&mut state, Some((6, 2)), 8), Err(Reject::Fenced));
}

#[test]
fn used_up_epochs_lead_to_a_new_id() {
    let mut state = TransactionalIds::default();
    assert_eq!(initialise(&mut state, Some((7, EPOCH_MAX - 1)), 8), Ok((7, EPOCH_MAX)));
    assert_eq!(initialise(&mut state, None, 9), Ok((9, 0)));
}
