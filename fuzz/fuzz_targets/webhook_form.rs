//! Webhook bodies from outside, and the signature check over whatever they hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::transport::twilio::form::{Form, MAX_PARAMETERS};
use offhook::transport::twilio::signature::{Body, Validator};

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (body, url, signature) = input;
    let validator = Validator::new("token".into());
    if let Ok(form) = Form::parse(body) {
        assert!(form.pairs().len() <= MAX_PARAMETERS);
        let _ = validator.check(url, Body::Form(&form), Some(signature), None);
    }
    let _ = validator.check(url, Body::Raw(body), Some(signature), Some(signature));
});
