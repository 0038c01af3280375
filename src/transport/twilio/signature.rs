//! Whether a request comes from Twilio: the `X-Twilio-Signature` header
//! (twilio.com/docs/usage/security#validating-requests).
//!
//! The signature covers the public URL as Twilio called it, so it is made from configuration and never from the
//! `Host` of the request. Nothing here waits, and how long a check takes does not depend on where a forgery differs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::form::Form;

/// The header that carries the signature.
pub const SIGNATURE: &str = "x-twilio-signature";
/// The header that names another algorithm than HMAC-SHA1.
pub const SETTINGS: &str = "x-twilio-webhooks-signature-settings";

/// Checks requests against one account's auth token.
#[derive(Clone, Debug)]
pub struct Validator {
    token: SecretString,
}

/// What a request carries beside its URL.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// GET, and the upgrade of a WebSocket.
    None,
    Form(&'a Form),
    /// Anything else, which the URL's `bodySHA256` must cover.
    Raw(&'a [u8]),
}

impl Validator {
    pub const fn new(token: SecretString) -> Self {
        Self { token }
    }

    /// Checks one request. `url` is the whole public URL with its query: `https` for webhooks, `wss` for streams.
    /// `settings` is the header [`SETTINGS`] if it came.
    ///
    /// # Errors
    /// Why the request is refused; answer 403.
    pub fn check(
        &self,
        url: &str,
        body: Body<'_>,
        signature: Option<&str>,
        settings: Option<&str>,
    ) -> Result<(), SignatureError> {
        let algorithm = Algorithm::named(settings.unwrap_or_default())?;
        let signature = signature.ok_or(SignatureError::Missing)?;
        let signature = STANDARD.decode(signature).map_err(|_| SignatureError::NotBase64)?;
        let form = match body {
            Body::None => None,
            Body::Form(form) => Some(form),
            Body::Raw(bytes) => {
                check_body_hash(url, bytes)?;
                None
            }
        };
        let parameters = form.map(signed_parameters).unwrap_or_default();
        // Every spelling is tried even after one fits, so that time tells nothing.
        let fits = spellings(url).iter().flatten().fold(false, |fits, url| {
            let fits_this = algorithm.verify(self.token.expose_secret(), url, &parameters, &signature);
            fits | fits_this
        });
        if fits { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

/// Why a request is not taken for Twilio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no X-Twilio-Signature header")]
    Missing,
    #[error("X-Twilio-Signature is not base64")]
    NotBase64,
    #[error("X-Twilio-Webhooks-Signature-Settings names an algorithm other than HMAC_SHA1 and HMAC_SHA256")]
    UnknownAlgorithm,
    #[error("the body is no form and the URL has no bodySHA256")]
    NoBodyHash,
    #[error("bodySHA256 does not fit the body")]
    WrongBodyHash,
    #[error("X-Twilio-Signature does not fit; check twilio.auth_token and http.public_url")]
    Wrong,
}

#[derive(Clone, Copy)]
enum Algorithm {
    HmacSha1,
    HmacSha256,
}

impl Algorithm {
    fn named(settings: &str) -> Result<Self, SignatureError> {
        let named = settings.split(',').filter_map(|part| part.split_once('='));
        let mut named = named.filter(|(key, _)| key.trim() == "algorithm").map(|(_, value)| value.trim());
        match named.find(|value| !value.is_empty()).map(str::to_ascii_uppercase).as_deref() {
            None | Some("HMAC_SHA1") => Ok(Self::HmacSha1),
            Some("HMAC_SHA256") => Ok(Self::HmacSha256),
            Some(_) => Err(SignatureError::UnknownAlgorithm),
        }
    }

    fn verify(self, token: &str, url: &str, parameters: &str, signature: &[u8]) -> bool {
        match self {
            Self::HmacSha1 => verify::<Hmac<Sha1>>(token, url, parameters, signature),
            Self::HmacSha256 => verify::<Hmac<Sha256>>(token, url, parameters, signature),
        }
    }
}

fn verify<M: Mac + hmac::digest::KeyInit>(token: &str, url: &str, parameters: &str, signature: &[u8]) -> bool {
    let Ok(mac) = <M as Mac>::new_from_slice(token.as_bytes()) else { return false };
    mac.chain_update(url.as_bytes()).chain_update(parameters.as_bytes()).verify_slice(signature).is_ok()
}

/// Names in code point order, each with its distinct values in code point order, all run together.
fn signed_parameters(form: &Form) -> String {
    let mut pairs: Vec<&(String, String)> = form.pairs().iter().collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect()
}

fn check_body_hash(url: &str, body: &[u8]) -> Result<(), SignatureError> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut hashes = query.split('&').filter_map(|pair| pair.strip_prefix("bodySHA256="));
    let presented = hashes.next().ok_or(SignatureError::NoBodyHash)?;
    let computed = Sha256::digest(body);
    let computed: String = computed.iter().map(|byte| format!("{byte:02x}")).collect();
    // The hash is no secret (it stands in the URL), so it may be compared plainly.
    if computed == presented { Ok(()) } else { Err(SignatureError::WrongBodyHash) }
}

/// The URL as it is, without a port, and with the port made explicit: Twilio's side does not always sign the same one.
fn spellings(url: &str) -> [Option<String>; 3] {
    let as_is = Some(url.to_owned());
    let Some((scheme, rest)) = url.split_once("://") else { return [as_is, None, None] };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host_from = authority.rfind('@').map_or(0, |at| at + 1);
    let (user, host) = authority.split_at(host_from);
    let bracket = host.rfind(']').map_or(0, |at| at + 1);
    let port = host.get(bracket..).and_then(|tail| tail.find(':')).map(|colon| bracket + colon);
    match port {
        Some(colon) => {
            let bare = host.get(..colon).unwrap_or(host);
            [as_is, Some(format!("{scheme}://{user}{bare}{path}")), None]
        }
        None => {
            let port = if matches!(scheme, "https" | "wss") { 443 } else { 80 };
            [as_is, None, Some(format!("{scheme}://{authority}:{port}{path}"))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by the vendor's own library: scripts/twilio_signature_vectors.py.
    #[derive(serde::Deserialize)]
    struct Vector {
        name: String,
        token: String,
        url: String,
        parameters: Option<Vec<(String, String)>>,
        body: Option<String>,
        settings: Option<String>,
        signature: String,
        valid: bool,
    }

    #[test]
    fn agrees_with_the_vendors_library() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../../fixtures/twilio/signature.json")).unwrap();
        assert!(vectors.iter().filter(|v| v.valid).count() >= 10 && vectors.iter().filter(|v| !v.valid).count() >= 8);
        for vector in vectors {
            let form: Option<Form> = vector.parameters.map(|pairs| pairs.into_iter().collect());
            let body = match (&form, &vector.body) {
                (Some(form), _) => Body::Form(form),
                (None, Some(raw)) => Body::Raw(raw.as_bytes()),
                (None, None) => Body::None,
            };
            let checked = Validator::new(vector.token.into()).check(
                &vector.url,
                body,
                Some(&vector.signature),
                vector.settings.as_deref(),
            );
            assert_eq!(checked.is_ok(), vector.valid, "{}: {checked:?}", vector.name);
        }
    }

    #[test]
    fn a_body_that_nothing_signs_is_refused() {
        let validator = Validator::new("token".into());
        let raw = Body::Raw(b"{}");
        assert_eq!(validator.check("https://a/", raw, Some(""), None), Err(SignatureError::NoBodyHash));
        assert_eq!(
            validator.check("https://a/?bodySHA256=00", raw, Some(""), None),
            Err(SignatureError::WrongBodyHash)
        );
        assert_eq!(validator.check("https://a/", Body::None, None, None), Err(SignatureError::Missing));
        assert_eq!(validator.check("https://a/", Body::None, Some("%"), None), Err(SignatureError::NotBase64));
        assert_eq!(
            validator.check("https://a/", Body::None, Some(""), Some("algorithm=MD5")),
            Err(SignatureError::UnknownAlgorithm)
        );
    }

    #[test]
    fn the_token_is_not_printed() {
        assert!(!format!("{:?}", Validator::new("t0ken".into())).contains("t0ken"));
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_by_chance(url in "\\PC{0,40}|wss?://[\\[\\]:@/?#a-z0-9]{0,20}", signature in "[A-Za-z0-9+/]{27}=") {
            prop_assert!(Validator::new("token".into()).check(&url, Body::None, Some(&signature), None).is_err());
        }
    }
}
