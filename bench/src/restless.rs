//! What groups cost producers: a hundred groups that beat, first quiet, then rebalancing with every beat.
//!
//! One thread drives one group: it writes what all members say and then reads what they are told, so that the load
//! itself takes little of the machine that broker and producers need.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use wire::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use wire::sync_group::SyncGroupRequestAssignment;
use wire::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, Request, Str, SyncGroupRequest};

use crate::groups::{BEAT, PATIENCE, SESSION, wait};
use crate::load::{Figures, create, decode, read_frame, single};
use crate::server::{Server, connect};

const GROUPS: usize = 100;
const MEMBERS: usize = 10;
const PRODUCERS: usize = 16;
const RECORDS: usize = 64_000;

/// Version 3 joins without an id, and waits for the others.
const JOIN: i16 = 3;
const SYNC: i16 = 2;
const BEATS: i16 = 2;
const LEAVE: i16 = 2;

#[derive(Default)]
struct Mood {
    is_restless: AtomicBool,
    stop: AtomicBool,
    settled: AtomicUsize,
    rebalances: AtomicUsize,
    beats: AtomicUsize,
}

pub fn beside_groups(server: &mut Server) -> anyhow::Result<Figures> {
    let name = server.new_topic();
    let mood = Arc::<Mood>::default();
    let threads: Vec<_> = (0..GROUPS)
        .map(|number| {
            let (address, group, mood) = (server.address.clone(), format!("{name}-{number}"), mood.clone());
            let offset = BEAT * number as u32 / GROUPS as u32;
            std::thread::spawn(move || Group::new(&address, group)?.live(offset, &mood))
        })
        .collect();
    wait(|| mood.settled.load(Ordering::Acquire) == GROUPS).context("the groups never settled")?;
    let topic = server.new_topic();
    create(&server.address, &topic, PRODUCERS as i32)?;
    let phase = |is_restless: bool| -> anyhow::Result<[f64; 5]> {
        mood.is_restless.store(is_restless, Ordering::Release);
        // Both phases begin with groups that are in the mood already.
        std::thread::park_timeout(BEAT * 2);
        let (cpu, began) = (server.cpu_seconds()?, Instant::now());
        let counts = || [&mood.rebalances, &mood.beats].map(|count| count.load(Ordering::Acquire));
        let before = counts();
        let produced = single(&server.address, &topic, PRODUCERS as i32, PRODUCERS, RECORDS)?;
        let seconds = began.elapsed().as_secs_f64();
        let figure = |name| produced.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, it)| *it);
        let [rebalances, beats] = [0, 1].map(|at| (counts()[at] - before[at]) as f64 / seconds);
        let cpu = (server.cpu_seconds()? - cpu) / seconds;
        Ok([figure("p99 ms"), figure("records/s"), cpu, rebalances, beats])
    };
    let quiet = phase(false)?;
    let restless = phase(true)?;
    mood.stop.store(true, Ordering::Release);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a group panicked"))??;
    }
    Ok(vec![
        ("produce p99 ms, groups quiet", quiet[0]),
        ("produce p99 ms, groups rebalancing", restless[0]),
        ("p99 rebalancing / quiet", restless[0] / quiet[0]),
        ("produce records/s, groups quiet", quiet[1]),
        ("produce records/s, groups rebalancing", restless[1]),
        ("broker CPU cores, quiet", quiet[2]),
        ("broker CPU cores, rebalancing", restless[2]),
        ("rebalances/s", restless[3]),
        ("heartbeats/s, quiet", quiet[4]),
        ("heartbeats/s, rebalancing", restless[4]),
    ])
}

/// Ten members, and one that comes and goes when the mood is restless.
struct Group {
    name: String,
    members: Vec<Member>,
    comer: Member,
    comer_is_in: bool,
    generation: i32,
}

struct Member {
    stream: TcpStream,
    id: Str,
}

impl Group {
    /// Members come one after the other.
    fn new(address: &str, name: String) -> anyhow::Result<Self> {
        let comer = || anyhow::Ok(Member { stream: connect(address)?, id: Str::default() });
        let mut group =
            Group { name, members: Vec::new(), comer: comer()?, comer_is_in: false, generation: -1 };
        while group.members.len() < MEMBERS {
            group.disturb()?;
            if !group.members.is_empty() {
                group.beat()?;
            }
            group.join()?;
            group.members.push(std::mem::replace(&mut group.comer, comer()?));
            group.comer_is_in = false;
        }
        Ok(group)
    }

    fn live(mut self, offset: Duration, mood: &Mood) -> anyhow::Result<()> {
        mood.settled.fetch_add(1, Ordering::AcqRel);
        let began = Instant::now() + offset;
        for round in 1.. {
            // Beats keep their times whatever a rebalance took.
            std::thread::park_timeout((began + BEAT * round).saturating_duration_since(Instant::now()));
            if mood.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            let restless = mood.is_restless.load(Ordering::Acquire);
            if restless {
                self.disturb()?;
            }
            let must_join = self.beat()?;
            mood.beats.fetch_add(self.members.len(), Ordering::AcqRel);
            if must_join {
                self.join()?;
                mood.rebalances.fetch_add(1, Ordering::AcqRel);
            }
            ensure!(must_join == restless, "a group rebalanced: {must_join}, and was to: {restless}");
        }
        Ok(())
    }

    /// One more comes, or that one goes: the others are to join anew.
    fn disturb(&mut self) -> anyhow::Result<()> {
        if self.comer_is_in {
            let (group_id, member_id) = (self.name.as_str().into(), std::mem::take(&mut self.comer.id));
            let leave = LeaveGroupRequest { group_id, member_id, ..Default::default() };
            self.comer.say(LEAVE, &leave)?;
            ensure!(self.comer.hear::<LeaveGroupRequest>(LEAVE)?.error_code == 0, "leaving failed");
        } else {
            // Has come when the broker has read it; the answer waits for the others.
            self.comer.say(JOIN, &join(&self.name, &self.comer.id))?;
        }
        self.comer_is_in = !self.comer_is_in;
        Ok(())
    }

    /// Whether the group rebalances.
    fn beat(&mut self) -> anyhow::Result<bool> {
        let mut must_join = false;
        // A comer's join may be on its way still: ask until somebody was told.
        let began = Instant::now();
        loop {
            for member in &mut self.members {
                let beat = HeartbeatRequest {
                    group_id: self.name.as_str().into(),
                    generation_id: self.generation,
                    member_id: member.id.clone(),
                    ..Default::default()
                };
                member.say(BEATS, &beat)?;
            }
            for member in &mut self.members {
                must_join |= member.hear::<HeartbeatRequest>(BEATS)?.error_code != 0;
            }
            let is_expected = self.comer_is_in && self.comer.id.is_empty();
            if must_join || !is_expected {
                return Ok(must_join);
            }
            ensure!(began.elapsed() < PATIENCE, "the one that came was never noticed");
        }
    }

    fn join(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.say(JOIN, &join(&self.name, &member.id))?;
        }
        let comer = self.comer_is_in.then_some(&mut self.comer);
        let mut all: Vec<&mut Member> = self.members.iter_mut().chain(comer).collect();
        let (mut leader, mut known) = (Str::default(), Vec::new());
        for member in &mut all {
            let joined = member.hear::<JoinGroupRequest>(JOIN)?;
            ensure!(joined.error_code == 0, "joining failed: {}", joined.error_code);
            self.generation = joined.generation_id;
            member.id = joined.member_id;
            if !joined.members.is_empty() {
                leader = joined.leader;
                known = joined.members;
            }
        }
        ensure!(known.len() == all.len(), "{} members of {} are known", known.len(), all.len());
        for member in &mut all {
            let part = |member: &JoinGroupResponseMember| SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: Bytes::from_static(b"part"),
                ..Default::default()
            };
            let given = if member.id == leader { known.as_slice() } else { &[] };
            let sync = SyncGroupRequest {
                group_id: self.name.as_str().into(),
                generation_id: self.generation,
                member_id: member.id.clone(),
                assignments: given.iter().map(part).collect(),
                ..Default::default()
            };
            member.say(SYNC, &sync)?;
        }
        for member in &mut all {
            let synced = member.hear::<SyncGroupRequest>(SYNC)?;
            ensure!(synced.error_code == 0, "syncing failed: {}", synced.error_code);
        }
        Ok(())
    }
}

fn join(group: &str, member: &Str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: SESSION.as_millis() as i32,
        rebalance_timeout_ms: PATIENCE.as_millis() as i32,
        member_id: member.clone(),
        protocol_type: "bench".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "all".into(), ..Default::default() }],
        ..Default::default()
    }
}

impl Member {
    fn say<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<()> {
        self.stream.write_all(&wire::encode_request(1, Some("bench"), version, request)?.to_bytes())?;
        Ok(())
    }

    fn hear<R: Request>(&mut self, version: i16) -> anyhow::Result<R::Response> {
        decode::<R>(read_frame(&mut self.stream)?, version)
    }
}
