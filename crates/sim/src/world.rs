//! One run: incarnation after incarnation on the same disk, and the judgement at the end.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::Broker;
use env::sim::{Fault, SimDisk, Survival};
use env::{Clock, Disk, Random, SeededRandom};
use settings::BrokerSettings;
use storage::Storage;
use tokio::sync::watch;

use crate::check::Known;
use crate::clients::{self, Memory, PARTITIONS, Producer, TOPICS, Whole};
use crate::clock::VirtualClock;
use crate::disk::{ForgetfulDisk, LyingDisk};
use crate::groups;
use crate::keyed::{self, Keeping, Writer};
use crate::network::Network;
use crate::{Options, Report};

/// How much too fast the days of a hasty clock go by.
const HASTE: u32 = 20;

/// One life in three has its power cut within so many operations of the disk: while it starts, or any time.
const OPERATIONS: [u64; 2] = [400, 4000];

/// A power cut comes after at most this long, if nothing else ends an incarnation.
const LIFE_MS: u64 = 1500;

const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(400);

/// Small files, so that rolling up, recycling and checkpoints happen within a short life.
fn storage_options() -> storage::Options {
    storage::Options {
        wal_bytes_max: 512 * 1024,
        wal_file_bytes: 128 * 1024,
        tail_bytes_max: 64 * 1024,
        direct_bytes_per_checkpoint: 256 * 1024,
        checkpoint_interval: CHECKPOINT_INTERVAL,
        disk_free_bytes_min: 64 * 1024,
        retention_check_interval: Duration::from_millis(100),
        ..storage::Options::new("data")
    }
}

pub fn run(options: &Options) -> Report {
    let _simulated = env::sim::enter();
    let random = Arc::new(SeededRandom::new(options.seed));
    let disk = SimDisk::new(random.next_u64());
    let memory = Memory {
        known: Arc::new(Mutex::new(Known::default())),
        log: Arc::new(Mutex::new(String::new())),
        random: random.clone(),
    };
    let producers: Vec<_> =
        (0..4).map(|name| Arc::new(Mutex::new(Producer::new(name, name % 2 == 0)))).collect();
    let writers: Vec<_> = (0..3).map(|name| Arc::new(Mutex::new(Writer::new(name)))).collect();
    let keeping = Keeping::draw(&random);
    let mut compactions = 0;
    let mut elapsed = Duration::ZERO;
    for number in 0..options.incarnations {
        let last = number + 1 == options.incarnations;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO");
        let clean = runtime.block_on(async {
            let pace = if options.hasty_clock { HASTE } else { 1 };
            let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(elapsed, pace));
            memory.note(&*clock, &format!("incarnation {number}"));
            let life = Life { options, disk: &disk, memory: &memory, clock: clock.clone(), keeping, last };
            let lived = life.live(&producers, &writers).await;
            elapsed = clock.monotonic();
            compactions += lived.compactions;
            lived.clean
        });
        // Everything that was running is gone in this moment.
        drop(runtime);
        if !last {
            let survival = match random.below(4) {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                _ => Survival::Chance,
            };
            let mut log = memory.log.lock().expect("one thread");
            let _ = writeln!(log, "power cut (stopped cleanly before: {clean}), survival {survival:?}");
            disk.crash(survival);
        }
    }
    let mut log = std::mem::take(&mut *memory.log.lock().expect("one thread"));
    for (path, content) in disk.files() {
        let sum = content.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let _ = writeln!(log, "file {} {} bytes {sum:016x}", path.display(), content.len());
    }
    let known = std::mem::take(&mut *memory.known.lock().expect("one thread"));
    let (acknowledged, keyed) = (known.acknowledged_count(), known.kept.known_count());
    Report { log, violations: known.into_violations(), acknowledged, keyed, compactions }
}

/// One life of the broker.
struct Life<'a> {
    options: &'a Options,
    disk: &'a SimDisk,
    memory: &'a Memory,
    clock: Arc<dyn Clock>,
    keeping: Keeping,
    /// The one in which everything is judged.
    last: bool,
}

#[derive(Default)]
struct Lived {
    /// It was stopped in order.
    clean: bool,
    compactions: u64,
}

impl Life<'_> {
    async fn live(&self, producers: &[Arc<Mutex<Producer>>], writers: &[Arc<Mutex<Writer>>]) -> Lived {
        let Life { options, disk, memory, ref clock, last, .. } = *self;
        let random = &memory.random;
        if !last && random.chance(3) {
            let most = OPERATIONS[random.below(OPERATIONS.len() as u64) as usize];
            disk.crash_at(1 + random.below(most));
        }
        let lying = Arc::new(AtomicBool::new(false));
        let Some((storage, broker)) = self.open(lying.clone()).await else { return Lived::default() };
        let (stop, stopped) = watch::channel(false);
        let network = Network::new(broker, random.clone(), stopped);
        let stubborn = options.stubborn_members;
        // What a lying disk loses must be seen soon: more groups would write and sync more in between.
        let groups = if options.lying_disk { groups::OF_ONE_PROTOCOL } else { groups::ALL };
        let members = groups::World {
            network: network.clone(),
            memory: memory.clone(),
            clock: clock.clone(),
            groups,
            stubborn,
        };
        let lived = |clean| Lived { clean, compactions: storage.metrics().compactions.value() };
        if last {
            let judged =
                judge(&network, memory).await && keyed::judge(&network, memory, &**clock, self.keeping).await;
            if judged {
                groups::judge(&members).await;
            }
            assert!(judged || options.is_disk_bad(), "the last incarnation must answer");
            return lived(true);
        }
        if clients::create_topics(&network).await
            && keyed::create_topics(&network, memory, self.keeping).await
        {
            self.populate(&network, &members, producers, writers);
            if options.lying_disk {
                // The topics' metadata is in a checkpoint by then: what is lost is records.
                tokio::time::sleep(CHECKPOINT_INTERVAL * 2).await;
                lying.store(true, Ordering::Relaxed);
            } else {
                env::spawn(clients::administrate(network.clone(), memory.clone(), clock.clone()));
            }
        }
        if random.chance(6) {
            tokio::time::sleep(Duration::from_millis(random.below(LIFE_MS))).await;
            memory.note(&**clock, "a sync fails");
            disk.inject(Fault::Sync("wal".into()));
        }
        tokio::time::sleep(Duration::from_millis(random.below(LIFE_MS))).await;
        if random.chance(4) {
            memory.note(&**clock, "stopping in order");
            stop.send_replace(true);
            storage.close().await;
            return lived(true);
        }
        lived(false)
    }

    /// Opens storage and broker; `None` where that is not possible on this disk.
    async fn open(&self, lying: Arc<AtomicBool>) -> Option<(Storage, Broker)> {
        let Life { options, memory, ref clock, last, .. } = *self;
        let random = &memory.random;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let seen: Arc<dyn Disk> = match (options.lying_disk, options.forgetful_disk) {
            (true, _) => Arc::new(LyingDisk(disk, lying)),
            (_, true) => Arc::new(ForgetfulDisk(disk)),
            _ => disk,
        };
        let opened = Storage::open(storage_options(), seen, clock.clone(), random.clone());
        let (storage, shards) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                memory.note(&**clock, &format!("cannot open: {error}"));
                assert!(!last || options.is_disk_bad(), "the last incarnation must open: {error}");
                return None;
            }
        };
        for shard in shards {
            env::spawn(shard.run_simulated());
        }
        let opened = Broker::open(settings(random), storage.clone(), clock.clone(), random.clone()).await;
        match opened {
            Ok(broker) => Some((storage, broker)),
            Err(error) => {
                memory.note(&**clock, &format!("cannot start: {error}"));
                assert!(!last || options.is_disk_bad(), "the last incarnation must start: {error}");
                None
            }
        }
    }

    /// Sends all clients into the world.
    fn populate(
        &self,
        network: &Network,
        members: &groups::World,
        producers: &[Arc<Mutex<Producer>>],
        writers: &[Arc<Mutex<Writer>>],
    ) {
        let (memory, clock) = (self.memory, &self.clock);
        for producer in producers {
            env::spawn(Producer::run(producer.clone(), network.clone(), memory.clone(), clock.clone()));
        }
        for writer in writers {
            env::spawn(Writer::run(writer.clone(), network.clone(), memory.clone(), clock.clone()));
        }
        for name in 0..3 {
            for group in members.groups {
                env::spawn(groups::live(members.clone(), group, name));
            }
        }
        for _ in 0..2 {
            env::spawn(clients::consume(network.clone(), memory.clone(), clock.clone()));
        }
        env::spawn(keyed::read(network.clone(), memory.clone(), clock.clone()));
    }
}

/// The broker's, drawn anew for each of its lives.
fn settings(random: &SeededRandom) -> BrokerSettings {
    let session = groups::SESSION.as_millis().to_string();
    let backoff = random.below(100).to_string();
    // Half of all lives compact slowly, so that more of their compactions are interrupted.
    let rate = if random.chance(2) { "50000" } else { "1.7976931348623157E308" };
    BrokerSettings::new([
        ("num.partitions", "2"),
        ("offsets.topic.num.partitions", "2"),
        ("group.min.session.timeout.ms", &session),
        ("group.consumer.session.timeout.ms", &session),
        ("group.consumer.heartbeat.interval.ms", "40"),
        // What sets nothing of its own: groups are kept in a compacted topic.
        ("log.roll.ms", "300"),
        ("log.cleaner.min.cleanable.ratio", "0.2"),
        ("log.cleaner.backoff.ms", &backoff),
        ("log.cleaner.io.max.bytes.per.second", rate),
    ])
    .expect("valid settings")
}

/// Reads everything and compares it with what was promised; whether everything could be read.
async fn judge(network: &Network, memory: &Memory) -> bool {
    if !clients::create_topics(network).await {
        return false;
    }
    let mut judged = true;
    for topic in TOPICS {
        for index in 0..PARTITIONS {
            let partition = (topic.to_string(), index);
            let Whole { log_start, records, complete } = clients::read_whole(network, &partition).await;
            judged &= complete;
            let end = log_start + records.len() as i64;
            memory.known(|known| {
                let floor = known.highest(&partition);
                known.high_watermark(&partition, floor, end);
                known.whole(&partition, log_start, &records);
            });
        }
    }
    judged
}
