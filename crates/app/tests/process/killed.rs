use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::Client;
use crate::server::Server;

const KILLS: usize = 20;
const PRODUCERS: usize = 4;

/// What one producer knows, over all lives of the broker.
#[derive(Default)]
struct Producer {
    id: Option<(i64, i16)>,
    sequence: i32,
    sent: u64,
    /// Repeated until it is known what became of it.
    in_doubt: Vec<String>,
    acknowledged: Vec<(i64, String)>,
}

impl Producer {
    /// Produces to a partition of its own until the broker is gone.
    fn run(&mut self, number: usize, address: &str, progress: &AtomicBool) -> std::io::Result<()> {
        let mut client = Client::connect(address)?;
        client.use_topic("t")?;
        let id = match self.id {
            Some(id) => id,
            None => client.producer_id()?,
        };
        self.id = Some(id);
        loop {
            if self.in_doubt.is_empty() {
                // Small batches, and now and then one that goes straight to its segment.
                let (count, padding) = if self.sent.is_multiple_of(50) { (40, 1500) } else { (3, 20) };
                for _ in 0..count {
                    self.sent += 1;
                    self.in_doubt.push(format!("p{number}-{}-{}", self.sent, "x".repeat(padding)));
                }
            }
            let answer = client.produce(("t", number as i32), (id, self.sequence), &self.in_doubt)?;
            assert_eq!(answer.error_code, 0, "producer {number}");
            self.sequence += self.in_doubt.len() as i32;
            self.acknowledged.extend((answer.base_offset..).zip(self.in_doubt.drain(..)));
            progress.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn killed_twenty_times_under_load_it_keeps_every_acknowledged_record_once_and_in_order() {
    let data = tempfile::tempdir().unwrap();
    let settings = ["levada.wal.bytes.max=16777216"];
    let producers: Vec<_> = (0..PRODUCERS).map(|_| Arc::new(Mutex::new(Producer::default()))).collect();
    for kill in 0..KILLS {
        let server = Server::start(data.path(), &settings);
        let progress = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = producers
            .iter()
            .enumerate()
            .map(|(number, producer)| {
                let (producer, address, progress) =
                    (producer.clone(), server.kafka.clone(), progress.clone());
                let body = move || drop(producer.lock().unwrap().run(number, &address, &progress));
                std::thread::Builder::new().spawn(body).unwrap()
            })
            .collect();
        // Not before something was acknowledged; then at a moment that is another one each time.
        while !progress.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        std::thread::park_timeout(Duration::from_millis(20 + 37 * kill as u64 % 200));
        server.kill();
        for thread in threads {
            thread.join().unwrap();
        }
    }
    let server = Server::start(data.path(), &settings);
    let mut client = Client::connect(&server.kafka).unwrap();
    let mut acknowledged = 0;
    for (number, producer) in producers.iter().enumerate() {
        let producer = producer.lock().unwrap();
        let stored = client.read_all("t", number as i32).unwrap();
        let offsets: Vec<i64> = stored.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..stored.len() as i64).collect::<Vec<_>>(), "offsets have no gaps");
        let distinct: BTreeSet<&String> = stored.iter().map(|(_, value)| value).collect();
        assert_eq!(distinct.len(), stored.len(), "no record stands twice");
        // All that was acknowledged, at its place; after it at most what was in doubt at the last kill.
        assert_eq!(stored[..producer.acknowledged.len()], producer.acknowledged[..]);
        let rest: Vec<&String> =
            stored[producer.acknowledged.len()..].iter().map(|(_, value)| value).collect();
        assert!(rest.is_empty() || rest.into_iter().eq(&producer.in_doubt));
        acknowledged += producer.acknowledged.len();
    }
    assert!(acknowledged > 1000, "only {acknowledged} records were acknowledged: nothing was tried");
}
