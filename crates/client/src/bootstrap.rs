//! `--bootstrap`: where brokers may be found.

use settings::Listener;

const DEFAULT_PORT: u16 = 9092;

/// Addresses that are tried in turn, each `host:port`; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap(pub Vec<String>);

impl Bootstrap {
    /// Reads `host`, `host:port`, `PLAINTEXT://host:port`, or several with commas between them.
    pub fn parse(text: &str) -> Result<Bootstrap, String> {
        let addresses: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(address)
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err("give an address, such as 127.0.0.1:9092".to_owned());
        }
        Ok(Bootstrap(addresses))
    }
}

fn address(text: &str) -> Result<String, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest.trim_end_matches('/')),
        None => (String::new(), text),
    };
    if ["SSL://", "SASL_SSL://", "SASL_PLAINTEXT://"].contains(&scheme.to_ascii_uppercase().as_str()) {
        return Err(format!(
            "`{text}`: write host:port; how it is spoken to says security.protocol in a client properties file \
             (--command-config, or --kafka-config of serve)"
        ));
    }
    // Without brackets an IPv6 address has no place for a port.
    let is_bare_v6 = !rest.starts_with('[') && rest.matches(':').count() > 1;
    let complete = match rest {
        _ if is_bare_v6 => format!("[{rest}]:{DEFAULT_PORT}"),
        _ if rest.ends_with(']') || !rest.contains(':') => format!("{rest}:{DEFAULT_PORT}"),
        _ => rest.to_owned(),
    };
    let listener = Listener::parse(&format!("{scheme}{complete}"))?;
    match (listener.port, complete.starts_with(':')) {
        (0, _) => Err(format!("`{text}`: nobody listens on port 0")),
        (_, true) => Err(format!("`{text}` has no host; write host:port")),
        _ => Ok(listener.address()),
    }
}

#[cfg(test)]
mod tests;
