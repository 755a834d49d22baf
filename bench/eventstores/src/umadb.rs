use umadb_client::AsyncUmaDbClient;
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreAsync, DcbQuery, DcbQueryItem};

use crate::Client;

pub struct Uma(AsyncUmaDbClient);

fn query(stream: &str) -> DcbQuery {
    DcbQuery { items: vec![DcbQueryItem { types: Vec::new(), tags: vec![stream.to_owned()] }] }
}

impl Client for Uma {
    /// The position of the stream's last event.
    type Seen = Option<u64>;

    async fn connect(address: &str) -> anyhow::Result<Uma> {
        let client = AsyncUmaDbClient::connect(format!("http://{address}"), None, None, None).await;
        Ok(Uma(client.map_err(|error| anyhow::anyhow!("{error}"))?))
    }

    async fn append(
        &mut self,
        _: &str,
        stream: &str,
        _: usize,
        data: &[u8],
        seen: &mut Option<u64>,
    ) -> anyhow::Result<()> {
        let event = DcbEvent {
            event_type: "Happened".to_owned(),
            tags: vec![stream.to_owned()],
            data: data.to_vec(),
            uuid: None,
            metadata: Vec::new(),
        };
        let condition = DcbAppendCondition { fail_if_events_match: query(stream), after: *seen };
        let appended = self.0.append(vec![event], Some(condition), None).await;
        *seen = Some(appended.map_err(|error| anyhow::anyhow!("{error}"))?);
        Ok(())
    }

    async fn read(&mut self, _: &str, stream: &str) -> anyhow::Result<usize> {
        let failed = |error: umadb_dcb::DcbError| anyhow::anyhow!("{error}");
        let mut answers = self.0.read(Some(query(stream)), None, false, None).await.map_err(failed)?;
        let mut count = 0;
        loop {
            let batch = answers.next_batch().await.map_err(failed)?;
            if batch.is_empty() {
                return Ok(count);
            }
            count += batch.len();
        }
    }

    async fn catch_up(&mut self, _: &str, events: usize) -> anyhow::Result<()> {
        let failed = |error: umadb_dcb::DcbError| anyhow::anyhow!("{error}");
        let mut answers = self.0.read(None, None, false, None).await.map_err(failed)?;
        let mut count = 0;
        while count < events {
            let batch = answers.next_batch().await.map_err(failed)?;
            anyhow::ensure!(!batch.is_empty(), "it ended after {count} events");
            count += batch.len();
        }
        Ok(())
    }
}
