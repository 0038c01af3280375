//! Stream messages from outside: read or refused, and what was read is within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::transport::twilio::wire::{Inbound, MAX_MARK_NAME, MAX_PAYLOAD, StreamSid, parse, write_media};

fuzz_target!(|text: &str| {
    let mut buffer = [0; MAX_PAYLOAD];
    match parse(text, &mut buffer) {
        Ok(Inbound::Media(media)) => {
            let audio = buffer[..media.len].to_vec();
            let stream = StreamSid::parse("MZ1").unwrap();
            let mut out = String::new();
            write_media(&mut out, &stream, &audio);
            let Ok(Inbound::Media(again)) = parse(&out, &mut buffer) else { panic!("written media is not read") };
            assert_eq!(buffer[..again.len], audio);
        }
        Ok(Inbound::Mark(name)) => assert!(name.len() <= MAX_MARK_NAME),
        Ok(_) => {}
        Err(error) => assert!(error.to_string().len() < 300),
    }
});
