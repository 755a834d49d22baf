//! Members that wait for their group: for its others to join, or for the leader's assignment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coordinators::groups::classic::Answer;
use coordinators::groups::{Groups, Record};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::host::Effects;

/// Who waits in one partition of `__consumer_offsets`, by group and member. A member waits for one thing at a time:
/// when it asks anew, its older question is dropped.
#[derive(Clone, Default)]
pub struct Waiters {
    waiting: Arc<Mutex<BTreeMap<(String, String), oneshot::Sender<Answer>>>>,
    kept_bytes: Arc<AtomicUsize>,
}

impl Waiters {
    /// To be called before the command is decided whose answer may come late. The answer never comes when the
    /// coordinator has lost what it knew of the members.
    pub fn wait(&self, group: &str, member: &str) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert((group.to_string(), member.to_string()), sender);
        receiver
    }

    /// Whoever waits is told that there is no answer.
    pub fn release(&self) {
        self.waiting.lock().clear();
    }

    /// What this partition's machine keeps of what members say, as of its last records.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes.load(Ordering::Relaxed)
    }

    /// The answer came at once.
    pub fn forget(&self, group: &str, member: &str) {
        self.waiting.lock().remove(&(group.to_string(), member.to_string()));
    }
}

impl Effects<Groups> for Waiters {
    async fn loaded(&mut self, state: &Groups) {
        self.kept_bytes.store(state.kept_bytes(), Ordering::Relaxed);
        self.release();
    }

    async fn committed(&mut self, state: &Groups, records: &[Record]) {
        self.kept_bytes.store(state.kept_bytes(), Ordering::Relaxed);
        for record in records {
            if let Record::Answered { group, member, answer } = record
                && let Some(waiting) = self.waiting.lock().remove(&(group.clone(), member.clone()))
            {
                // Whoever waited may have gone: its session will tell.
                let _ = waiting.send(answer.clone());
            }
        }
    }
}
