//! To whom an append goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Ownership, TopicPartition, partition_of_key};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::{CategoryInfo, Freshness, Handle, OpenCategory};
use crate::append::{Append, AppendError, Appended, Expected, StreamAppend, home_mark_id};
use crate::category::Category;
use crate::event::{Facts, NewEvent};
use crate::machine::{LIVES_ELSEWHERE, boundary};
use crate::owner::Job;
use crate::query::ReadError;
use crate::table::TableError;
use crate::truncation::Mark;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Partitions that a category may have: a position names them all.
const PARTITIONS_MAX: i32 = 256;

impl Handle {
    /// Appends, wherever the owner is. The same append (the same event ids) again has the same answer.
    pub async fn append(&self, category: &Category, append: Append) -> Result<Appended, AppendError> {
        append.check()?;
        append.check_names()?;
        category.check_foreign().map_err(|error| AppendError::Invalid(error.to_string()))?;
        self.append_checked(category, append).await
    }

    /// The same, also to what is the store's own.
    pub(super) async fn append_checked(
        &self,
        category: &Category,
        append: Append,
    ) -> Result<Appended, AppendError> {
        let deadline = Instant::now() + self.0.options.append_patience;
        let open = self.opened_by(category, deadline).await?;
        let mut append = append.bounded();
        loop {
            // What is rare is kept out of what every append carries along.
            if append.boundary.is_some() {
                Box::pin(self.give_homes(&open, &append, deadline)).await?;
            }
            match self.append_within(&open, &append, deadline, true).await {
                // The stream is known to live in another boundary, and nobody said which one is meant.
                Err(AppendError::Boundary { boundary, .. })
                    if append.boundary.is_none() && append.streams.len() == 1 =>
                {
                    append.boundary = Some(boundary);
                }
                outcome => return outcome,
            }
        }
    }

    /// The same, as another instance asks: if the owner is not here, it is not looked for. Whoever asks has proven to be
    /// one ([`crate::peers`]); what it asks for is checked all the same.
    pub async fn append_here(&self, category: &Category, append: Append) -> Result<Appended, AppendError> {
        append.check()?;
        append.check_passed_on(category)?;
        let deadline = Instant::now() + self.0.options.append_patience;
        for mark in append.marks() {
            self.check_mark(category, &mark, deadline).await?;
        }
        let open = self.opened_by(category, deadline).await?;
        self.append_within(&open, &append, deadline, false).await
    }

    /// Refuses a mark that truncates what is not there: no index would take it. Versions only grow, so that this holds until
    /// it is appended.
    async fn check_mark(
        &self,
        category: &Category,
        mark: &Mark,
        deadline: Instant,
    ) -> Result<(), AppendError> {
        let wait = deadline.saturating_duration_since(Instant::now());
        let strong = Freshness { is_strong: true, wait, ..Freshness::default() };
        let (stream, before) = (&mark.stream, mark.before);
        let current = match self.find_stream(category, stream, &strong).await {
            Ok((_, _, known)) => known.version,
            Err(ReadError::NoStream(_)) => 0,
            Err(error) => return Err(AppendError::Unavailable(error.to_string())),
        };
        match before <= current + 1 {
            true => Ok(()),
            false => Err(AppendError::Invalid(format!(
                "{stream} is at version {current}, and cannot be truncated before {before}"
            ))),
        }
    }

    /// The category, once its partitions are read; created where that is allowed.
    pub(super) async fn opened_by(
        &self,
        category: &Category,
        deadline: Instant,
    ) -> Result<Arc<OpenCategory>, AppendError> {
        match self.opened(category) {
            Some(open) => Ok(open),
            None => Box::pin(self.opened_anew(category, deadline)).await,
        }
    }

    async fn opened_anew(
        &self,
        category: &Category,
        deadline: Instant,
    ) -> Result<Arc<OpenCategory>, AppendError> {
        if let Some(why) = self.unopened(category) {
            return Err(AppendError::Halted(format!("category {category} takes no appends: {why}")));
        }
        let created = self.0.catalog.create(category, self.0.options.partitions);
        let created = timeout_at(deadline, created).await;
        let late = || AppendError::Unavailable(format!("category {category} is not open yet"));
        created.map_err(|_| late())?.map_err(|error| refuse(&error))?;
        loop {
            match self.opened(category) {
                Some(open) => return Ok(open),
                None if Instant::now() >= deadline => return Err(late()),
                None => sleep(PAUSE).await,
            }
        }
    }

    /// Creates a category, or finds the one that there is. Returns when it takes appends.
    pub async fn create_category(
        &self,
        category: &Category,
        partitions: Option<i32>,
    ) -> Result<CategoryInfo, AppendError> {
        category.check_foreign().map_err(|error| AppendError::Invalid(error.to_string()))?;
        let deadline = Instant::now() + self.0.options.append_patience;
        let partitions = partitions.unwrap_or(self.0.options.partitions);
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(AppendError::Invalid(format!("a category has 1 to {PARTITIONS_MAX} partitions")));
        }
        let created = timeout_at(deadline, self.0.catalog.create(category, partitions)).await;
        let late = |_| AppendError::Unavailable(format!("category {category} could not be created in time"));
        let info = created.map_err(late)?.map_err(|error| refuse(&error))?;
        self.opened_by(category, deadline).await?;
        Ok(info)
    }

    pub(super) fn opened(&self, category: &Category) -> Option<Arc<OpenCategory>> {
        self.0.open.lock().get(category).cloned()
    }

    /// Goes to the owner until there is an answer that is one. Event ids make it safe to ask twice.
    pub(super) async fn append_within(
        &self,
        open: &OpenCategory,
        append: &Append,
        deadline: Instant,
        may_forward: bool,
    ) -> Result<Appended, AppendError> {
        let index = partition_of_key(boundary(append).as_bytes(), open.partitions.len());
        let partition = &open.partitions[index];
        let mut doubt = None;
        loop {
            let is_here = partition.standing.borrow().is_some();
            let outcome = match is_here {
                // What is personal is encrypted where it is written.
                true if append.is_personal() => match Box::pin(self.seal(append)).await {
                    Ok(sealed) => here(partition, sealed, deadline).await,
                    Err(error) => Err(error),
                },
                true => here(partition, append.clone(), deadline).await,
                false => Box::pin(self.elsewhere(open, index, append, deadline, may_forward)).await,
            };
            match outcome {
                Err(AppendError::Unavailable(_)) if Instant::now() < deadline => {}
                Err(AppendError::InDoubt(why)) if Instant::now() < deadline => doubt = Some(why),
                Err(AppendError::Halted(why)) => {
                    return Err(match doubt {
                        Some(doubt) => AppendError::InDoubt(format!("{doubt}; {why}")),
                        None => AppendError::Halted(why),
                    });
                }
                // What was in doubt once is so until somebody knows.
                Err(AppendError::Unavailable(why)) => {
                    return Err(match doubt {
                        Some(doubt) => AppendError::InDoubt(doubt),
                        None => AppendError::Unavailable(why),
                    });
                }
                outcome => return outcome,
            }
            sleep(PAUSE).await;
        }
    }

    async fn elsewhere(
        &self,
        open: &OpenCategory,
        index: usize,
        append: &Append,
        deadline: Instant,
        may_forward: bool,
    ) -> Result<Appended, AppendError> {
        let ownership = self.0.membership.ownership();
        let part = (open.category.topic(), index as i32);
        let url = ownership.borrow().owners.get(&part).cloned();
        match url {
            Some(url) if url != self.0.options.url && may_forward => {
                let asking =
                    timeout_at(deadline, self.0.peer.append(&self.0.peers, &url, &open.category, append));
                match unless_moved(asking, ownership, &part, &url).await {
                    Some(Ok(Err(AppendError::Elsewhere { .. }))) => {
                        Err(AppendError::Unavailable(format!("partition {index} changes its owner")))
                    }
                    Some(Ok(outcome)) => outcome,
                    Some(Err(_)) => Err(AppendError::InDoubt(format!("{url} did not answer in time"))),
                    None => {
                        Err(AppendError::InDoubt(format!("{url} did not answer, and is the owner no more")))
                    }
                }
            }
            Some(url) if url != self.0.options.url => {
                Err(AppendError::Elsewhere { partition: index as i32, url })
            }
            owner => Err(match open.partitions[index].replica.halted() {
                // It is owned here, and will not take anything.
                Some(it) if owner.is_some() => {
                    AppendError::Halted(halted(index as i32, &open.category, &it.why))
                }
                _ => AppendError::Unavailable(format!(
                    "partition {index} of {} has no owner just now",
                    open.category
                )),
            }),
        }
    }

    /// A stream whose boundary is not its id may live in another partition than one would look for it: there, a mark is
    /// left first, so that the id is used once in the category, and so that it is found.
    async fn give_homes(
        &self,
        open: &OpenCategory,
        append: &Append,
        deadline: Instant,
    ) -> Result<(), AppendError> {
        let Some(boundary) = append.boundary.as_deref() else { return Ok(()) };
        let place = |key: &str| partition_of_key(key.as_bytes(), open.partitions.len());
        let streams: BTreeSet<&str> = append.streams.iter().map(|part| part.stream.as_str()).collect();
        for stream in streams {
            if place(stream) == place(boundary) || self.is_there(open, place(boundary), stream).await {
                continue;
            }
            let mark = NewEvent {
                id: home_mark_id(stream),
                facts: Facts {
                    kind: LIVES_ELSEWHERE.to_owned(),
                    content_type: "text/plain".to_owned(),
                    ..Facts::default()
                },
                data: boundary.to_owned().into(),
            };
            let part =
                StreamAppend { stream: stream.to_owned(), expected: Expected::None, events: vec![mark] };
            let home = Append { boundary: None, streams: vec![part], conditions: Vec::new() };
            self.append_mark(open, home, stream, boundary, deadline).await?;
        }
        Ok(())
    }

    async fn append_mark(
        &self,
        open: &OpenCategory,
        home: Append,
        stream: &str,
        boundary: &str,
        deadline: Instant,
    ) -> Result<(), AppendError> {
        match self.append_within(open, &home, deadline, true).await {
            Ok(appended) if !appended.is_repeated => Ok(()),
            // There is a mark: is it this one?
            Ok(_) => match self.boundary_of(open, stream, deadline).await? {
                Some(known) if known == boundary => Ok(()),
                Some(known) => Err(AppendError::Boundary { stream: stream.to_owned(), boundary: known }),
                // An event that is no mark has its id: the stream lives alone.
                None => Err(AppendError::Boundary { stream: stream.to_owned(), boundary: stream.to_owned() }),
            },
            // It lives alone.
            Err(AppendError::Version { stream, .. }) => {
                Err(AppendError::Boundary { boundary: stream.clone(), stream })
            }
            Err(error) => Err(error),
        }
    }
}

/// What is said of a partition that somebody has to look at.
pub(super) fn halted(partition: i32, category: &Category, why: &str) -> String {
    format!("partition {partition} of {} takes no appends: {why}", category.topic())
}

/// Asks an owner for as long as it is one: whoever is stopped or cut off does not answer, and another takes over. None:
/// it is none any more.
async fn unless_moved<T>(
    asking: impl Future<Output = T>,
    mut ownership: watch::Receiver<Ownership>,
    part: &TopicPartition,
    url: &str,
) -> Option<T> {
    tokio::select! {
        biased;
        outcome = asking => Some(outcome),
        Ok(_) = ownership.wait_for(|now| now.owners.get(part).is_none_or(|owner| owner != url)) => None,
    }
}

async fn here(
    partition: &super::OpenPartition,
    append: Append,
    deadline: Instant,
) -> Result<Appended, AppendError> {
    let (answer, answered) = oneshot::channel();
    let (job, turn) = Job::new(append, answer);
    if partition.jobs.try_send(job).is_err() {
        return Err(AppendError::Unavailable("too many appends wait for this partition".to_owned()));
    }
    match timeout_at(deadline, answered).await {
        Ok(Ok(outcome)) => outcome,
        // The owner has not begun with it, and will not.
        _ if turn.take() => {
            Err(AppendError::Unavailable("the partition's owner did not come to it in time".to_owned()))
        }
        Ok(Err(_)) => Err(AppendError::InDoubt("the owner has ended".to_owned())),
        Err(_) => Err(AppendError::InDoubt("the log did not answer in time".to_owned())),
    }
}

fn refuse(error: &TableError) -> AppendError {
    match error {
        TableError::Kafka(asked) => match asked.refused() {
            Some(refused) if !refused.is_passing() => AppendError::Invalid(asked.to_string()),
            _ => AppendError::Unavailable(asked.to_string()),
        },
        TableError::Copy { .. }
        | TableError::Late(_)
        | TableError::Lost(_)
        | TableError::NotLost(_)
        | TableError::Going(_) => AppendError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::{pending, ready};

    use super::*;

    fn owned_by(url: &str) -> Ownership {
        let owners = BTreeMap::from([(("orders.events".to_owned(), 3), url.to_owned())]);
        Ownership { owners, ..Ownership::default() }
    }

    #[tokio::test]
    async fn nobody_waits_for_an_owner_that_is_none_any_more() {
        let part = ("orders.events".to_owned(), 3);
        let (told, ownership) = watch::channel(owned_by("http://a"));
        let answered = unless_moved(ready(7), ownership.clone(), &part, "http://a").await;
        assert_eq!(answered, Some(7));
        let waiting = env::spawn({
            let part = part.clone();
            async move { unless_moved(pending::<()>(), ownership, &part, "http://a").await }
        });
        // The same owner as before.
        told.send_replace(owned_by("http://a"));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        told.send_replace(owned_by("http://b"));
        assert_eq!(waiting.await.unwrap(), None);
    }
}
