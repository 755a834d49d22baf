use anyhow::ensure;
use tokio_postgres::{NoTls, Statement};

use crate::Client;

/// A table as event sourcing libraries make it: the primary key refuses a version that is there, the statement one that
/// is not the next.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS events (
        position BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE, stream TEXT NOT NULL, version BIGINT NOT NULL,
        type TEXT NOT NULL, data TEXT NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (stream, version)
    )";

const APPEND: &str = "
    INSERT INTO events (stream, version, type, data) SELECT $1, $2, 'Happened', $3
    WHERE $2 = 1 + coalesce((SELECT max(version) FROM events WHERE stream = $1), 0)";

pub struct Postgres {
    client: tokio_postgres::Client,
    append: Statement,
    read: Statement,
}

impl Client for Postgres {
    type Seen = ();

    async fn connect(address: &str) -> anyhow::Result<Postgres> {
        let (client, connection) = tokio_postgres::connect(address, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute("SELECT pg_advisory_lock(7)").await?;
        client.batch_execute(TABLE).await?;
        client.batch_execute("SELECT pg_advisory_unlock(7)").await?;
        let append = client.prepare(APPEND).await?;
        let read = client.prepare("SELECT version, type, data FROM events WHERE stream = $1 ORDER BY version").await?;
        Ok(Postgres { client, append, read })
    }

    async fn append(
        &mut self,
        _: &str,
        stream: &str,
        version: usize,
        data: &[u8],
        _: &mut (),
    ) -> anyhow::Result<()> {
        let (version, data) = (version as i64, std::str::from_utf8(data)?);
        let count = self.client.execute(&self.append, &[&stream, &version, &data]).await?;
        ensure!(count == 1, "another version");
        Ok(())
    }

    async fn read(&mut self, _: &str, stream: &str) -> anyhow::Result<usize> {
        Ok(self.client.query(&self.read, &[&stream]).await?.len())
    }

    async fn catch_up(&mut self, _: &str, events: usize) -> anyhow::Result<()> {
        let mut after = 0_i64;
        let mut count = 0;
        while count < events {
            let sql = "SELECT position, stream, version, type, data FROM events WHERE position > $1 ORDER BY position LIMIT 1000";
            let rows = self.client.query(sql, &[&after]).await?;
            let Some(last) = rows.last() else { anyhow::bail!("it ended after {count} events") };
            after = last.get(0);
            count += rows.len();
        }
        Ok(())
    }
}
