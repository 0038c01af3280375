//! Certificates that are made when a test begins.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// An authority and what it signed for 127.0.0.1, as files.
pub struct Certificates {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
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
        Self { ca: ca_file, certificate, key: key_file }
    }

    /// What `sip.tls` is told.
    pub fn settings(&self, listen: std::net::SocketAddr) -> [String; 3] {
        [
            format!("sip.tls.listen={listen}"),
            format!("sip.tls.certificate={}", self.certificate.display()),
            format!("sip.tls.key={}", self.key.display()),
        ]
    }
}
