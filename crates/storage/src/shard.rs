use model::Timestamp;

/// One write-ahead log and everything that is done to it, as a step function.
pub struct Shard {
    _todo: (),
}

impl Shard {
    /// Does what is waiting: one group of requests, one piece of upkeep. Says whether there is more to do.
    pub fn step(&mut self, _now: Timestamp) -> bool {
        todo!()
    }

    /// Runs until the storage is closed; for a thread of its own.
    pub fn run(self) {
        todo!()
    }

    /// The same for a task of a simulation.
    pub async fn run_simulated(self) {
        todo!()
    }
}
