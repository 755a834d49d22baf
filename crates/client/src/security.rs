//! What stands between a socket and Kafka's protocol: nothing, TLS, SASL, or both.
//!
//! What the user has to change is [`AskError::Denied`]; what may pass by itself is [`AskError::Lost`], also where it
//! looks as if the other side spoke something else, because a broker that goes down looks the same.

pub mod pem;

use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::AskError;
use crate::sasl::{Login, Mechanism, Sasl};

/// How brokers are to be spoken to. As it comes: in plain words, and nobody says who they are.
#[derive(Clone, Default)]
pub struct Security {
    tls: Option<TlsConnector>,
    sasl: Option<Arc<Sasl>>,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.protocol())
    }
}

/// What TLS needs to know.
pub struct Trust {
    /// Who may sign brokers' certificates; None: whom the system trusts.
    pub trusted: Option<Vec<CertificateDer<'static>>>,
    /// This client's own certificate with those above it, and its key.
    pub client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    pub names_are_checked: bool,
}

/// A connection on which anything can be said; the two directions apart.
pub struct Stream {
    pub from: Box<dyn AsyncRead + Send + Unpin>,
    pub to: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Stream {
    pub fn of(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Stream {
        let (from, to) = tokio::io::split(stream);
        Stream { from: Box::new(from), to: Box::new(to) }
    }
}

impl Security {
    pub fn with_tls(self, trust: Trust) -> Result<Security, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(Verifier::new(trust.trusted, trust.names_are_checked, &provider)?);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match trust.client {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(|error| {
                format!("ssl.keystore: the certificate and the key do not go together: {error}")
            })?,
        };
        Ok(Security { tls: Some(TlsConnector::from(Arc::new(config))), ..self })
    }

    pub fn with_sasl(self, sasl: Sasl) -> Security {
        Security { sasl: Some(Arc::new(sasl)), ..self }
    }

    /// Kafka's `security.protocol`.
    pub fn protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }

    pub fn sasl(&self) -> Option<&Sasl> {
        self.sasl.as_deref()
    }

    /// Shakes hands, where there is TLS. `address` is `host:port`.
    pub async fn open(&self, stream: TcpStream, address: &str) -> Result<Stream, AskError> {
        let Some(tls) = &self.tls else {
            let (from, to) = stream.into_split();
            return Ok(Stream { from: Box::new(from), to: Box::new(to) });
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| AskError::Denied(format!("`{host}` is no name for a certificate")))?;
        let stream = tls.connect(name, stream).await.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                AskError::Lost(format!(
                    "it closed the connection during the TLS handshake; if this port has no TLS, set security.protocol to \
                     {}, or take another port",
                    self.without_tls()
                ))
            }
            _ => self.broken(error),
        })?;
        Ok(Stream::of(stream))
    }

    fn without_tls(&self) -> &'static str {
        if self.sasl.is_some() { "SASL_PLAINTEXT" } else { "PLAINTEXT" }
    }

    /// Why nothing more can be read or written, before the first question was answered.
    pub fn broken(&self, error: io::Error) -> AskError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(inner) => AskError::Denied(self.told(inner)),
            None => AskError::Lost(error.to_string()),
        }
    }

    fn told(&self, error: &rustls::Error) -> String {
        use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, PeerIncompatible};
        match error {
            InvalidCertificate(error) => told_of_certificate(error),
            InvalidMessage(_) => format!(
                "what it answers is not TLS: set security.protocol to {}, or take the port of a listener with TLS",
                self.without_tls()
            ),
            AlertReceived(alert) if is_about_clients(*alert) => format!(
                "the broker wants a client's certificate that it trusts, and refuses this one's ({alert:?}): see \
                 ssl.keystore.location, and the broker's ssl.client.auth and truststore"
            ),
            AlertReceived(AlertDescription::ProtocolVersion) | PeerIncompatible(_) => format!(
                "client and broker have no version or cipher of TLS in common, this client speaks 1.2 and 1.3 ({error})"
            ),
            _ => format!("TLS failed: {error}"),
        }
    }
}

/// Reads `sasl.mechanism` and `sasl.jaas.config`.
pub fn sasl(mechanism: Option<&str>, jaas: Option<&str>) -> Result<Sasl, String> {
    let offered = || Mechanism::ALL.map(Mechanism::name).join(", ");
    let Some(mechanism) = mechanism else {
        return Err(format!(
            "sasl.mechanism is missing, and Kafka's default, GSSAPI, is not available: set one of {}",
            offered()
        ));
    };
    let found = Mechanism::ALL.into_iter().find(|known| known.name() == mechanism);
    let found =
        found.ok_or_else(|| format!("sasl.mechanism: `{mechanism}` is not available, only {}", offered()))?;
    let Some(jaas) = jaas else {
        return Err(format!(
            "sasl.jaas.config is missing: {} required username=\"…\" password=\"…\";",
            found.module().class()
        ));
    };
    let (module, login) = Login::parse(jaas).map_err(|why| format!("sasl.jaas.config: {why}"))?;
    if module != found.module() {
        return Err(format!(
            "sasl.jaas.config: the login module of {found} is {}, not {}",
            found.module().class(),
            module.class()
        ));
    }
    Ok(Sasl { mechanism: found, login })
}

/// What brokers say of clients' certificates, or of their absence.
fn is_about_clients(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::HandshakeFailure
    )
}

fn told_of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "nobody who is trusted has signed the broker's certificate: ssl.truststore.location must name a PEM file with \
             the certificate of the authority that did (without it, those that the system trusts count)"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the broker's certificate is for another name ({error}): use a name that it has as subjectAltName, in \
             bootstrap.servers and in the broker's advertised.listeners; an empty ssl.endpoint.identification.algorithm \
             gives up the comparison, and with it the protection against whoever has any certificate of this authority"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the broker's certificate is no longer valid: {error}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the broker's certificate is not valid yet: {error}; is this machine's clock right?")
        }
        // Of which one that an authority has for itself is the most likely.
        CertificateError::Other(_) => format!(
            "the broker's certificate is not accepted ({error}); one that the broker has signed itself has to stand in \
             ssl.truststore.location"
        ),
        _ => format!("the broker's certificate is not accepted: {error}"),
    }
}

/// As rustls verifies, but that a broker's own certificate may be in the truststore itself, as with Java, and that names
/// need not be compared.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    /// Those of the truststore.
    pinned: Vec<CertificateDer<'static>>,
    names_are_checked: bool,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(
        trusted: Option<Vec<CertificateDer<'static>>>,
        names_are_checked: bool,
        provider: &CryptoProvider,
    ) -> Result<Verifier, String> {
        let mut roots = RootCertStore::empty();
        match &trusted {
            Some(trusted) => {
                for certificate in trusted {
                    roots.add(certificate.clone()).map_err(|error| {
                        format!("ssl.truststore: a certificate in it cannot be used: {error}")
                    })?;
                }
            }
            None => {
                // What of the system's certificates cannot be read is of no use to anybody else either.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err("ssl.truststore.location is not set, and the system has no certificates of authorities \
                                (Debian: apt-get install ca-certificates)"
                        .to_owned());
                }
            }
        }
        let algorithms = provider.signature_verification_algorithms;
        Ok(Verifier { roots, pinned: trusted.unwrap_or_default(), names_are_checked, algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if !self.pinned.contains(end_entity) {
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        if self.names_are_checked {
            rustls::client::verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
