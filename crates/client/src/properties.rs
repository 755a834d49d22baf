//! A client properties file in Kafka's own format and with its names: the file that Kafka's tools take as
//! `--command-config`.
//!
//! What is not said has Kafka's default. Names that Kafka's clients know and this one has no use for are passed over;
//! what nobody knows is told.

mod java;
mod names;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use tracing::debug;

use crate::security::{Security, Trust};
use crate::{Bootstrap, security};

/// Our own name beside Kafka's: copies of the topics that patterns create.
const REPLICATION_FACTOR: &str = "replication.factor";

/// What has an effect here.
const USED: &[&str] = &[
    "bootstrap.servers",
    "client.id",
    REPLICATION_FACTOR,
    "request.timeout.ms",
    "sasl.jaas.config",
    "sasl.mechanism",
    "security.protocol",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.type",
];

/// How a cluster is reached, as a file says it.
#[derive(Debug, Clone, Default)]
pub struct Properties {
    pub bootstrap: Option<Bootstrap>,
    pub client_id: Option<String>,
    pub security: Security,
    pub request_timeout: Option<Duration>,
    /// Of topics that patterns create; None: as the cluster does it.
    pub replication_factor: Option<i16>,
    /// What is probably not meant, a sentence each.
    pub warnings: Vec<String>,
}

/// How files are read: the caller is at the process's rim, this crate is not.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

impl Properties {
    /// Reads the file, and those that it names: certificates and keys.
    pub fn read(path: &Path, read: ReadFile<'_>) -> Result<Properties, String> {
        let at = |why: String| format!("{}: {why}", path.display());
        let bytes = read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|_| at("it is no text in UTF-8".to_owned()))?;
        Properties::parse(&text, read).map_err(at)
    }

    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Properties, String> {
        let values = Values(java::parse(text)?);
        if values.given("config.providers").is_some() {
            return Err(
                "config.providers: values that stand elsewhere are not fetched; write them here".to_owned()
            );
        }
        let at = |name: &str, why: String| format!("{name}: {why}");
        let bootstrap = values.given("bootstrap.servers").map(Bootstrap::parse).transpose();
        let replication_factor = values.given(REPLICATION_FACTOR).map(replication_factor).transpose();
        let request_timeout = values.given("request.timeout.ms").map(millis).transpose();
        Ok(Properties {
            bootstrap: bootstrap.map_err(|why| at("bootstrap.servers", why))?,
            client_id: values.given("client.id").map(str::to_owned),
            security: values.security(read)?,
            request_timeout: request_timeout.map_err(|why| at("request.timeout.ms", why))?,
            replication_factor: replication_factor.map_err(|why| at(REPLICATION_FACTOR, why))?.flatten(),
            warnings: values.warnings(),
        })
    }
}

/// What the file says, the last time that it says it.
struct Values(BTreeMap<String, String>);

impl Values {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim())
    }

    /// The same, where nothing is as good as not said.
    fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    fn security(&self, read: ReadFile<'_>) -> Result<Security, String> {
        let protocol = self.given("security.protocol").unwrap_or("PLAINTEXT").to_ascii_uppercase();
        let (is_tls, is_sasl) = match protocol.as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => {
                return Err(format!(
                    "security.protocol: `{protocol}` is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL"
                ));
            }
        };
        let mut security = Security::default();
        if is_tls {
            security = security.with_tls(self.trust(read)?)?;
        }
        if is_sasl {
            let mechanism = self.given("sasl.mechanism");
            security = security.with_sasl(security::sasl(mechanism, self.given("sasl.jaas.config"))?);
        }
        Ok(security)
    }

    fn trust(&self, read: ReadFile<'_>) -> Result<Trust, String> {
        let names_are_checked = match self.get("ssl.endpoint.identification.algorithm") {
            None => true,
            Some("") => false,
            Some(name) if name.eq_ignore_ascii_case("https") => true,
            Some(other) => {
                return Err(format!(
                    "ssl.endpoint.identification.algorithm: `{other}` is neither https nor empty (names in certificates \
                     are not compared then)"
                ));
            }
        };
        let trusted = self.store("ssl.truststore", "certificates", read)?;
        let chain = self.store("ssl.keystore", "certificate.chain", read)?;
        // A file holds both; here they stand apart.
        let key = match self.given("ssl.keystore.key") {
            Some(key) => Some(("ssl.keystore.key", security::pem::with_lines(key))),
            None => self.given("ssl.keystore.location").and(chain.clone()),
        };
        Ok(Trust {
            trusted: trusted.map(|(name, pem)| security::pem::certificates(name, &pem)).transpose()?,
            client: match (chain, key) {
                (Some((name, chain)), Some((key_name, key))) => Some((
                    security::pem::certificates(name, &chain)?,
                    security::pem::private_key(key_name, &key)?,
                )),
                (None, None) => None,
                _ => {
                    return Err(
                        "ssl.keystore.certificate.chain and ssl.keystore.key belong together: give both"
                            .to_owned(),
                    );
                }
            },
            names_are_checked,
        })
    }

    /// What is in a store, and which name says so.
    fn store(
        &self,
        store: &str,
        inline: &str,
        read: ReadFile<'_>,
    ) -> Result<Option<(&'static str, Vec<u8>)>, String> {
        let named = |rest: &str| {
            let name = format!("{store}.{rest}");
            let known = USED.iter().find(|known| **known == name);
            *known.expect("the table has the names of both stores")
        };
        let (location, kind, inline) = (named("location"), named("type"), named(inline));
        let given = (self.given(location), self.given(inline));
        let kind = self.given(kind).map(str::to_ascii_uppercase);
        if let (Some(_), Some(_)) = given {
            return Err(format!("{location} and {inline}: give only one"));
        }
        let refuse = |kind: &str| match given.0 {
            Some(path) => security::pem::not_pem(location, kind, path),
            None => format!("{store}.type: with {inline} it is PEM"),
        };
        match kind.as_deref() {
            None | Some("PEM") => {}
            Some(_) if given == (None, None) => return Ok(None),
            Some(kind) => return Err(refuse(kind)),
        }
        match given {
            (Some(path), _) => {
                let bytes = read(Path::new(path))
                    .map_err(|error| format!("{location}: cannot read {path}: {error}"))?;
                match security::pem::kind(&bytes) {
                    security::pem::Kind::Pem => Ok(Some((location, bytes))),
                    security::pem::Kind::Other(kind) => Err(refuse(kind)),
                }
            }
            (None, Some(text)) => Ok(Some((inline, security::pem::with_lines(text)))),
            (None, None) => Ok(None),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let names = || USED.iter().chain(names::OF_KAFKA).copied();
        let mut warnings = Vec::new();
        for name in self.0.keys() {
            if USED.contains(&name.as_str()) {
                continue;
            }
            if names::OF_KAFKA.contains(&name.as_str()) {
                debug!(name, "a client property has no effect here");
                continue;
            }
            let meant = match settings::nearest(name, names()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => String::new(),
            };
            warnings.push(format!("no Kafka client knows the property `{name}`: it is not used{meant}"));
        }
        warnings
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis.into())),
        _ => Err(format!("`{text}` is no number of milliseconds above 0")),
    }
}

fn replication_factor(text: &str) -> Result<Option<i16>, String> {
    match text.parse() {
        Ok(-1) => Ok(None),
        Ok(factor) if factor > 0 => Ok(Some(factor)),
        _ => Err(format!("`{text}` is neither a number of copies nor -1 (as the cluster does it)")),
    }
}

#[cfg(test)]
mod tests;
