//! Commands over several topics or groups: each is tried, each failure is told.

use crate::client::Refused;
use crate::output;

/// What could not be done, where each of several is tried and the others are done.
#[derive(Default)]
pub struct Failures(Vec<anyhow::Error>);

impl Failures {
    pub fn add(&mut self, refused: Refused, what: String) {
        self.0.push(anyhow::Error::new(refused).context(what));
    }

    /// Keeps a refusal for the end; anything else ends the command now.
    pub fn note(&mut self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        match outcome {
            Err(error) if error.is::<Refused>() => self.0.push(error),
            outcome => outcome?,
        }
        Ok(())
    }

    /// Each failure gets its line; the last one is the command's own.
    pub fn end(mut self) -> anyhow::Result<()> {
        let last = self.0.pop();
        self.0.iter().for_each(output::complain);
        last.map_or(Ok(()), Err)
    }
}
