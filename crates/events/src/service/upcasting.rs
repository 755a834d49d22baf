//! Which upcasters there are, and how they change what is read.

use std::sync::Arc;

use client::{Cluster, Position};
use env::Clock;
use serde_json::Value;
use tokio::sync::watch;
use tracing::warn;

use super::snapshots::unavailable;
use super::{Freshness, Handle, View};
use crate::append::{OWN, TYPE_MAX};
use crate::event::Recorded;
use crate::query::{ANSWER_BYTES, ReadError};
use crate::table::{At, Options, Table, TableError};
use crate::upcast::{self, Upcaster, Upcasters};

pub const TOPIC: &str = "lv.upcasters";

#[derive(Clone)]
pub(super) struct Known {
    table: Table,
    all: Arc<watch::Sender<(At, Arc<Upcasters>)>>,
}

impl Known {
    pub async fn open(
        cluster: &Cluster,
        clock: Arc<dyn Clock>,
        dir: std::path::PathBuf,
        replication_factor: i16,
    ) -> Result<Known, TableError> {
        let options = Options::new(TOPIC, dir, replication_factor);
        let table = Table::open(cluster, clock, options).await?;
        let known = Known { table, all: Arc::new(watch::Sender::default()) };
        let mut at = known.table.at();
        at.mark_unchanged();
        known.refresh().await?;
        let (table, all) = (known.table.clone(), Arc::downgrade(&known.all));
        env::spawn(async move {
            while at.changed().await.is_ok() {
                let Some(all) = all.upgrade() else { return };
                let known = Known { table: table.clone(), all };
                if let Err(error) = known.refresh().await {
                    warn!(%error, "the upcasters cannot be read");
                }
            }
        });
        Ok(known)
    }

    async fn refresh(&self) -> Result<(), TableError> {
        let at = self.table.at().borrow().clone();
        let entries = self.table.scan("").await?;
        let read: Upcasters = entries.iter().filter_map(|(key, value)| upcast::read(key, value)).collect();
        // Another may have read more meanwhile.
        self.all.send_if_modified(|known| {
            let is_newer = (at.round, at.next) >= (known.0.round, known.0.next);
            if is_newer {
                *known = (at, Arc::new(read));
            }
            is_newer
        });
        Ok(())
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns when what is read is made of all that the table has now.
    pub async fn refreshed(&self) -> Result<(), TableError> {
        let at = self.table.at().borrow().clone();
        let is_behind = {
            let all = self.all.borrow();
            (all.0.round, all.0.next) < (at.round, at.next)
        };
        if is_behind { self.refresh().await } else { Ok(()) }
    }

    fn all(&self) -> Arc<Upcasters> {
        self.all.borrow().1.clone()
    }
}

/// Upcasters of all types.
const UPCASTERS_MAX: usize = 1000;

/// What an upcaster makes of an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    pub kind: String,
    pub schema_version: u32,
    pub data: Value,
}

impl Handle {
    /// The same store, whose events are read as they are recorded.
    pub fn raw(&self) -> Handle {
        Handle(self.0.clone(), View { is_lifted: false, ..self.1 })
    }

    /// The same store, whose answers have about so many bytes at most: one event may have more.
    pub fn in_pages(&self, bytes_max: usize) -> Handle {
        Handle(self.0.clone(), View { bytes_max: bytes_max.min(ANSWER_BYTES), ..self.1 })
    }

    /// All of them, at least as fresh as it is asked for.
    pub async fn upcasters(&self, freshness: &Freshness) -> Result<Upcasters, ReadError> {
        self.tables_fresh(freshness).await?;
        Ok((*self.0.upcasters.all()).clone())
    }

    /// Lifts events of a type and schema version to the next one from now on. It is tried on the example first, if there
    /// is one.
    pub async fn put_upcaster(
        &self,
        kind: &str,
        from: u32,
        upcaster: &Upcaster,
        example: Option<Value>,
    ) -> Result<(Option<Tried>, Position), ReadError> {
        let invalid = |why: String| ReadError::Invalid(why);
        for kind in [Some(kind), upcaster.kind.as_deref()].into_iter().flatten() {
            if kind.is_empty() || kind.len() > TYPE_MAX || kind.chars().any(char::is_control) {
                return Err(invalid(format!("`{kind}` is no type of events")));
            }
            if kind.starts_with(OWN) || kind == super::erasure::ERASED {
                return Err(invalid(format!("`{kind}` is the store's own: nobody changes how it is read")));
            }
        }
        let all = self.0.upcasters.all();
        if all.len() >= UPCASTERS_MAX && !all.contains_key(&(kind.to_owned(), from)) {
            return Err(invalid(format!("there are {UPCASTERS_MAX} upcasters already: delete some")));
        }
        let to = from.checked_add(1).filter(|_| from > 0);
        let to = to.ok_or_else(|| invalid("schema versions count from 1".to_owned()))?;
        upcaster.check().map_err(invalid)?;
        let tried = match example {
            None => None,
            Some(mut data) => {
                let mut room = upcast::Room::of(data.to_string().len());
                upcaster.apply(&mut data, &mut room).map_err(|why| invalid(format!("the example: {why}")))?;
                let kind = upcaster.kind.clone().unwrap_or_else(|| kind.to_owned());
                Some(Tried { kind, schema_version: to, data })
            }
        };
        let known = &self.0.upcasters;
        let put = known.table.put(&upcast::key(kind, from), Some(&upcast::write(upcaster))).await;
        let position = put.map_err(unavailable)?;
        known.refresh().await.map_err(unavailable)?;
        Ok((tried, position))
    }

    /// None: there is none.
    pub async fn drop_upcaster(&self, kind: &str, from: u32) -> Result<Option<Position>, ReadError> {
        let (known, key) = (&self.0.upcasters, upcast::key(kind, from));
        known.table.catch_up().await.map_err(unavailable)?;
        if known.table.get(&key).await.map_err(unavailable)?.is_none() {
            return Ok(None);
        }
        let position = known.table.put(&key, None).await.map_err(unavailable)?;
        known.refresh().await.map_err(unavailable)?;
        Ok(Some(position))
    }

    /// Makes of what is recorded what readers get.
    pub(crate) async fn show(&self, events: &mut [Recorded]) -> Result<(), ReadError> {
        self.unseal(events).await?;
        let upcasters = self.0.upcasters.all();
        if self.1.is_lifted && !upcasters.is_empty() {
            events.iter_mut().for_each(|event| upcast::lift(&upcasters, event));
        }
        Ok(())
    }

    /// The same for an answer that has an end: gives back those that it has no room for, as they are recorded.
    pub(crate) async fn show_what_fits(
        &self,
        events: &mut Vec<Recorded>,
    ) -> Result<Vec<Recorded>, ReadError> {
        self.unseal(events).await?;
        let upcasters = self.0.upcasters.all();
        if !self.1.is_lifted || upcasters.is_empty() {
            return Ok(Vec::new());
        }
        let (mut bytes, mut fit) = (0, 0);
        for event in events.iter_mut() {
            upcast::lift(&upcasters, event);
            bytes += event.size();
            // The first one always does.
            if fit > 0 && bytes > self.1.bytes_max.max(ANSWER_BYTES) {
                break;
            }
            fit += 1;
        }
        Ok(events.split_off(fit))
    }
}
