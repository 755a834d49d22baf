//! How long groups take to settle. Raw members over one connection each, beating as their clients would.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use wire::consumer_group_heartbeat::RequestTopicPartitions;
use wire::join_group::JoinGroupRequestProtocol;
use wire::sync_group::SyncGroupRequestAssignment;
use wire::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, Request,
    SyncGroupRequest,
};

use crate::load::{Figures, create, decode, read_frame};
use crate::server::{Server, connect};

/// How often members beat.
pub const BEAT: Duration = Duration::from_millis(500);
pub const SESSION: Duration = Duration::from_secs(10);
pub const PATIENCE: Duration = Duration::from_secs(60);

fn ask<R: Request>(stream: &mut TcpStream, version: i16, request: &R) -> anyhow::Result<R::Response> {
    stream.write_all(&wire::encode_request(1, Some("bench"), version, request)?.to_bytes())?;
    decode::<R>(read_frame(stream)?, version)
}

/// Members over as many partitions under the newer protocol: from the last one's joining until each has what it is to
/// have, and the same after one of them has left.
pub fn consumer_group(server: &mut Server, members: usize) -> anyhow::Result<Figures> {
    let topic = server.new_topic();
    create(&server.address, &topic, members as i32)?;
    let shared = Arc::new(Shared {
        owned: Mutex::default(),
        joined: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    });
    let cpu = server.cpu_seconds()?;
    let began = Instant::now();
    let threads: Vec<JoinHandle<anyhow::Result<()>>> = (0..members)
        .map(|number| {
            let (address, topic, shared) = (server.address.clone(), topic.clone(), shared.clone());
            std::thread::spawn(move || consumer(&address, &topic, number, &shared))
        })
        .collect();
    wait(|| shared.joined.load(Ordering::Acquire) == members).context("not all members could join")?;
    let joined = began.elapsed();
    wait(|| shared.owned.lock().is_ok_and(|owned| owned.len() == members)).context("it never settled")?;
    let settled = began.elapsed() - joined;
    shared.stop.store(true, Ordering::Release);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a member panicked"))??;
    }
    Ok(vec![
        ("all joined, s", joined.as_secs_f64()),
        ("settled after the last joined, heartbeat intervals", settled.as_secs_f64() / BEAT.as_secs_f64()),
        ("broker CPU s", server.cpu_seconds()? - cpu),
    ])
}

struct Shared {
    /// Partitions that somebody has.
    owned: Mutex<BTreeSet<i32>>,
    joined: AtomicUsize,
    stop: AtomicBool,
}

fn consumer(address: &str, topic: &str, number: usize, shared: &Shared) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let mut epoch = 0;
    let mut owned: Vec<RequestTopicPartitions> = Vec::new();
    while !shared.stop.load(Ordering::Acquire) {
        let joins = epoch == 0;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: topic.into(),
            member_id: format!("member-{number}").into(),
            member_epoch: epoch,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec![topic.into()]),
            topic_partitions: Some(owned.clone()),
            ..Default::default()
        };
        let told = ask(&mut stream, 1, &request)?;
        ensure!(told.error_code == 0, "a heartbeat failed: {} {:?}", told.error_code, told.error_message);
        epoch = told.member_epoch;
        if joins {
            shared.joined.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(assignment) = told.assignment {
            let mut all = shared.owned.lock().map_err(|_| anyhow::anyhow!("a member panicked"))?;
            owned.iter().flat_map(|topic| &topic.partitions).for_each(|partition| {
                all.remove(partition);
            });
            owned = assignment
                .topic_partitions
                .into_iter()
                .map(|topic| RequestTopicPartitions {
                    topic_id: topic.topic_id,
                    partitions: topic.partitions,
                    ..Default::default()
                })
                .collect();
            all.extend(owned.iter().flat_map(|topic| &topic.partitions));
            // What was given up is told at once, as clients do.
            if !joins {
                continue;
            }
        }
        std::thread::park_timeout(BEAT);
    }
    Ok(())
}

/// A classic group: from one member's leaving until every other one has its new part.
pub fn classic_group(server: &mut Server, members: usize) -> anyhow::Result<Figures> {
    let group = server.new_topic();
    let cpu = server.cpu_seconds()?;
    let round = Arc::new(Round::default());
    let threads: Vec<JoinHandle<anyhow::Result<()>>> = (0..members)
        .map(|number| {
            let (address, group, round) = (server.address.clone(), group.clone(), round.clone());
            std::thread::spawn(move || classic(&address, &group, number == 0, &round))
        })
        .collect();
    wait(|| round.is_settled(members)).context("the group never settled")?;
    let began = Instant::now();
    round.leave.store(true, Ordering::Release);
    wait(|| round.is_settled(members - 1)).context("the group never settled again")?;
    let took = began.elapsed();
    round.stop.store(true, Ordering::Release);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a member panicked"))??;
    }
    Ok(vec![
        ("rebalanced after one left, s", took.as_secs_f64()),
        ("broker CPU s", server.cpu_seconds()? - cpu),
    ])
}

#[derive(Default)]
struct Round {
    /// The members that have synced, by generation.
    synced: Mutex<(i32, usize)>,
    leave: AtomicBool,
    stop: AtomicBool,
}

impl Round {
    fn is_settled(&self, members: usize) -> bool {
        self.synced.lock().is_ok_and(|synced| synced.1 == members)
    }
}

fn classic(address: &str, group: &str, leaves: bool, round: &Round) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let mut member = wire::Str::default();
    while !round.stop.load(Ordering::Acquire) {
        let join = JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: PATIENCE.as_millis() as i32,
            member_id: member.clone(),
            protocol_type: "bench".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "all".into(), ..Default::default() }],
            ..Default::default()
        };
        let joined = ask(&mut stream, 5, &join)?;
        member = joined.member_id.clone();
        if joined.error_code != 0 {
            continue;
        }
        let part = |member: &wire::join_group::JoinGroupResponseMember| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: Bytes::from_static(b"part"),
            ..Default::default()
        };
        let sync = SyncGroupRequest {
            group_id: group.into(),
            generation_id: joined.generation_id,
            member_id: member.clone(),
            assignments: joined.members.iter().map(part).collect(),
            ..Default::default()
        };
        if ask(&mut stream, 3, &sync)?.error_code != 0 {
            continue;
        }
        {
            let mut synced = round.synced.lock().map_err(|_| anyhow::anyhow!("a member panicked"))?;
            if synced.0 != joined.generation_id {
                *synced = (joined.generation_id, 0);
            }
            synced.1 += 1;
        }
        loop {
            std::thread::park_timeout(if leaves { Duration::from_millis(10) } else { BEAT });
            if round.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            if leaves && round.leave.load(Ordering::Acquire) {
                let leave = LeaveGroupRequest {
                    group_id: group.into(),
                    member_id: member.clone(),
                    ..Default::default()
                };
                ask(&mut stream, 2, &leave)?;
                return Ok(());
            }
            let beat = HeartbeatRequest {
                group_id: group.into(),
                generation_id: joined.generation_id,
                member_id: member.clone(),
                ..Default::default()
            };
            if ask(&mut stream, 3, &beat)?.error_code != 0 {
                break;
            }
        }
    }
    Ok(())
}

pub fn wait(mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !done() {
        ensure!(began.elapsed() < PATIENCE, "{PATIENCE:?} were not enough");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}
