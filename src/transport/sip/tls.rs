//! TLS for SIP: certificates from files, checked when they are read, and read again when the operator asks.
//!
//! TLS 1.2 and 1.3 with the cipher suites of rustls. A trunk's certificate must lead to a known root and name the host
//! that the trunk's address names (RFC 5922 section 4). Deliberately absent: any way to trust a certificate blindly.

pub mod validity;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::sip::{Host, TlsConfig};
use validity::Validity;

/// What handshakes are made with. Cheap to clone; all clones see a reload.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    config: TlsConfig,
    material: ArcSwap<Material>,
}

/// One reading of the files.
struct Material {
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
    validity: Option<Validity>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them, beginning with the key that names the file.
    pub fn load(config: &TlsConfig) -> Result<Self, String> {
        let material = Material::read(config)?;
        Ok(Self(Arc::new(Inner { config: config.clone(), material: ArcSwap::from_pointee(material) })))
    }

    /// Reads the files again: handshakes from now on use what they hold. Connections go on as they are.
    ///
    /// # Errors
    /// As [`Tls::load`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), String> {
        let material = Material::read(&self.0.config)?;
        self.0.material.store(Arc::new(material));
        Ok(())
    }

    /// For connections from peers; none without a certificate of our own.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.material.load().server.clone().map(TlsAcceptor::from)
    }

    /// For connections to trunks.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0.material.load().client))
    }

    /// When our own certificate holds; none without one.
    pub fn validity(&self) -> Option<Validity> {
        self.0.material.load().validity
    }

    /// Longest handshake.
    pub fn handshake_limit(&self) -> Duration {
        Duration::from_millis(self.0.config.handshake_timeout_ms)
    }

    /// Handshakes of peers at once.
    pub fn max_handshakes(&self) -> usize {
        self.0.config.max_handshakes
    }
}

/// Whether the chain of our own certificate leads to a root of `ca`, or of the system.
///
/// # Errors
/// Why it does not.
pub fn own_chain(config: &TlsConfig) -> Result<(), String> {
    let Some(path) = &config.certificate else { return Ok(()) };
    let chain = certificates("sip.tls.certificate", path)?;
    let Some((first, others)) = chain.split_first() else { return Ok(()) };
    let known = match &config.ca {
        Some(path) => roots("sip.tls.ca", path)?,
        None => system_roots(),
    };
    let end = rustls::server::ParsedCertificate::try_from(first).map_err(|error| error.to_string())?;
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let now = rustls::pki_types::UnixTime::now();
    rustls::client::verify_server_cert_signed_by_trust_anchor(&end, &known, others, now, algorithms.all)
        .map_err(|error| error.to_string())
}

/// The name that a certificate must show for a host.
pub fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        Host::Ip(address) => Some(ip_name(*address)),
    }
}

/// The name that a certificate must show for an address that no name led to.
pub fn ip_name(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.into())
}

impl Material {
    fn read(config: &TlsConfig) -> Result<Self, String> {
        let own = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            _ => None,
        };
        let server = match &own {
            Some(own) => Some(Arc::new(own.server(config.client_ca.as_deref())?)),
            None => None,
        };
        let roots = match &config.ca {
            Some(path) => roots("sip.tls.ca", path)?,
            None => system_roots(),
        };
        let client = ClientConfig::builder().with_root_certificates(roots);
        let client = match &own {
            // Trunks that ask who we are see the same certificate.
            Some(own) => client
                .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
                .map_err(|error| format!("sip.tls.key: {error}"))?,
            None => client.with_no_client_auth(),
        };
        Ok(Self { server, client: Arc::new(client), validity: own.map(|own| own.validity) })
    }
}

/// A certificate with its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    validity: Validity,
}

impl Identity {
    fn server(&self, client_ca: Option<&Path>) -> Result<ServerConfig, String> {
        let builder = ServerConfig::builder();
        let builder = match client_ca {
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots("sip.tls.client_ca", path)?)).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| format!("sip.tls.client_ca: {error}"))?)
            }
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(self.chain.clone(), self.key.clone_key());
        config.map_err(|error| format!("sip.tls.key: does not go with sip.tls.certificate ({error})"))
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let chain = certificates("sip.tls.certificate", certificate)?;
    let refuse = |why: String| format!("sip.tls.certificate: {}: {why}", certificate.display());
    let validity = chain.first().and_then(|first| Validity::read(first));
    let validity = validity.ok_or_else(|| refuse("expected an X.509 certificate".to_owned()))?;
    let now = Timestamp::now();
    if now > validity.not_after {
        return Err(refuse(format!("expired on {}", validity.not_after)));
    }
    if now < validity.not_before {
        return Err(refuse(format!("not valid before {}", validity.not_before)));
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("sip.tls.key: {}: expected a private key in PEM ({error})", key.display()))?;
    Ok(Identity { chain, key, validity })
}

/// Every certificate of a PEM file, at least one.
pub fn certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let refuse = |why: String| format!("{name}: {}: {why}", path.display());
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| refuse(format!("expected certificates in PEM ({error})")))?;
    if found.is_empty() { Err(refuse("holds no certificate".to_owned())) } else { Ok(found) }
}

fn roots(name: &str, path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(name, path)? {
        store.add(certificate).map_err(|error| format!("{name}: {}: {error}", path.display()))?;
    }
    Ok(store)
}

/// Without any root of the system every trunk's certificate is refused, and the refusal says so.
fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}
