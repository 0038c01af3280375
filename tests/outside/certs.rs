//! Certificates that are made when a test begins.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An authority and what it signed for 127.0.0.1, as files.
pub struct Certificates {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    root: CertificateDer<'static>,
    own: CertificateDer<'static>,
}

impl Certificates {
    pub fn new(dir: &Path) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let root = parameters.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let parameters_of_ours = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let ours = parameters_of_ours.signed_by(&key, &Issuer::new(parameters, ca_key)).unwrap();
        let [ca_file, certificate, key_file] = ["ca.pem", "server.pem", "server.key"].map(|name| dir.join(name));
        std::fs::write(&ca_file, root.pem()).unwrap();
        std::fs::write(&certificate, ours.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let (root, own) = (root.der().clone(), ours.der().clone());
        Self { ca: ca_file, certificate, key: key_file, root, own }
    }

    /// Puts these in the place of others, as an operator does whose certificate was renewed.
    pub fn replace(&self, others: &Self) {
        std::fs::copy(&self.certificate, &others.certificate).unwrap();
        std::fs::copy(&self.key, &others.key).unwrap();
    }

    /// Whether whoever connects there now and trusts this authority is shown this certificate.
    pub async fn is_shown_at(&self, tls: SocketAddr) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(tls).await.unwrap();
        let name = ServerName::try_from(tls.ip().to_string()).unwrap();
        match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            Ok(stream) => stream.get_ref().1.peer_certificates().unwrap()[0] == self.own,
            Err(_) => false,
        }
    }

    /// What `sip.tls` is told.
    pub fn settings(&self, listen: SocketAddr) -> [String; 3] {
        [
            format!("sip.tls.listen={listen}"),
            format!("sip.tls.certificate={}", self.certificate.display()),
            format!("sip.tls.key={}", self.key.display()),
        ]
    }
}
