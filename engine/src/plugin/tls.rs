//! TLS of outgoing connections and what is said of certificates.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::bindings::bellwether::plugin::net::{
    Certificate, ChainCertificate, Error, TlsInfo, TlsOptions,
};
use super::egress::io_error;
use crate::clock::Timestamp;

/// Certificates of a chain that a guest sees, and their bytes together.
const MAX_CHAIN: usize = 16;
const MAX_CHAIN_SIZE: usize = 64 << 10;

/// Shared client configurations; root certificates are read on first use.
pub(super) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    roots: OnceLock<Arc<RootCertStore>>,
    verifying: OnceLock<Arc<ClientConfig>>,
    trusting: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// `extra_roots` are trusted beside the system's.
    pub fn new(extra_roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            extra_roots,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            roots: OnceLock::new(),
            verifying: OnceLock::new(),
            trusting: OnceLock::new(),
        }
    }

    fn config(&self, verify: bool, alpn: &[String]) -> Result<Arc<ClientConfig>, Error> {
        let base = if verify {
            &self.verifying
        } else {
            &self.trusting
        };
        let base = match base.get() {
            Some(config) => config,
            None => {
                let built = self
                    .build(verify)
                    .map_err(|error| Error::Tls(error.to_string()))?;
                base.get_or_init(|| Arc::new(built))
            }
        };
        if alpn.is_empty() {
            return Ok(Arc::clone(base));
        }
        let mut config = ClientConfig::clone(base);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The system's authorities, those of the browsers where it has none, and
    /// the further ones.
    fn roots(&self) -> Arc<RootCertStore> {
        let load = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            roots.add_parsable_certificates(self.extra_roots.iter().cloned());
            Arc::new(roots)
        };
        Arc::clone(self.roots.get_or_init(load))
    }

    fn build(&self, verify: bool) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?;
        let mut config = if verify {
            builder
                .with_root_certificates(self.roots())
                .with_no_client_auth()
        } else {
            let verifier = Arc::new(AnyCertificate(Arc::clone(&self.provider)));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        };
        // A resumed session would show no certificate and other timings.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    /// Shakes hands.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
        options: Option<&TlsOptions>,
        default_alpn: &[&str],
    ) -> Result<(TlsStream<S>, Option<Certificate>), Error> {
        let verify = options.is_none_or(|options| options.verify);
        let alpn: Vec<String> = match options {
            Some(options) if !options.alpn.is_empty() => options.alpn.clone(),
            _ => default_alpn.iter().map(|name| (*name).to_owned()).collect(),
        };
        if alpn.iter().any(|name| name.is_empty() || name.len() > 255) || alpn.len() > 16 {
            return Err(Error::Invalid(
                "expected at most 16 ALPN protocols of 1 to 255 bytes".into(),
            ));
        }
        let name = options
            .and_then(|options| options.server_name.as_deref())
            .unwrap_or(host);
        let server = server_name(name)?;
        let connector = TlsConnector::from(self.config(verify, &alpn)?);
        let stream = connector
            .connect(server, stream)
            .await
            .map_err(|error| io_error(&error))?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| describe(chain.first()?));
        Ok((stream, certificate))
    }

    /// What was agreed on, and what is to be said of the peer's chain.
    pub fn info(&self, connection: &ClientConnection, name: &str, now: Timestamp) -> TlsInfo {
        let chain = connection.peer_certificates().unwrap_or_default();
        let mut room = MAX_CHAIN_SIZE;
        let shown = chain.iter().take(MAX_CHAIN).take_while(|der| {
            let fits = der.len() <= room;
            room = room.saturating_sub(der.len());
            fits
        });
        let suite = connection.negotiated_cipher_suite();
        TlsInfo {
            protocol: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
                other => format!("{other:?}"),
            },
            // rustls marks those of TLS 1.3, IANA does not.
            cipher_suite: suite
                .map(|suite| format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1))
                .unwrap_or_default(),
            key_exchange: connection
                .negotiated_key_exchange_group()
                .map(|group| format!("{:?}", group.name())),
            alpn: connection
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            problem: self.problem(chain, name, now).err(),
            chain: shown
                .map(|der| ChainCertificate {
                    der: der.to_vec(),
                    certificate: describe(der),
                })
                .collect(),
        }
    }

    /// Judges a chain as a verifying handshake would.
    fn problem(
        &self,
        chain: &[CertificateDer<'_>],
        name: &str,
        now: Timestamp,
    ) -> Result<(), String> {
        let (leaf, others) = chain.split_first().ok_or("the peer sent no certificate")?;
        let server = server_name(name).map_err(|_| format!("{name:?} is no server name"))?;
        let now = Duration::from_micros(u64::try_from(now.micros()).unwrap_or(0));
        let verifier =
            WebPkiServerVerifier::builder_with_provider(self.roots(), Arc::clone(&self.provider))
                .build()
                .map_err(|error| error.to_string())?;
        verifier
            .verify_server_cert(leaf, others, &server, &[], UnixTime::since_unix_epoch(now))
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    ServerName::try_from(bare.trim_end_matches('.').to_owned())
        .map_err(|_| Error::Invalid(format!("expected a server name, found {name:?}")))
}

/// What a leaf certificate says; absent where it does not parse.
fn describe(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(general_name)
                .take(1_000)
                .collect()
        })
        .unwrap_or_default();
    let validity = certificate.validity();
    Some(Certificate {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names,
        not_before: validity.not_before.timestamp().saturating_mul(1_000_000),
        not_after: validity.not_after.timestamp().saturating_mul(1_000_000),
        sha256: hex::encode(Sha256::digest(der)),
    })
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Takes any certificate, but not a handshake signed by another key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
