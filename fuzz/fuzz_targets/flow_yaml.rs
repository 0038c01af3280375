//! Any bytes as a flow file: an error that names its line, or a flow that runs; never a panic.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook::dialog::flow::NoAssets;
use offhook::dialog::{CallFacts, Dialog, DialogInput, Flow};
use offhook::telemetry::pii::Pii;

fuzz_target!(|text: &str| {
    match Flow::parse("fuzz.yaml", text, &NoAssets) {
        Err(error) => assert!(error.line >= 1 && error.to_string().starts_with("fuzz.yaml:")),
        Ok(flow) => {
            let facts = CallFacts { called: "1".into(), caller: Pii::new("2".into()), has_ears: true, has_model: true };
            let mut dialog = Dialog::new(Arc::new(flow), facts);
            dialog.handle(DialogInput::Started, Duration::ZERO);
            for second in 1..20 {
                while dialog.poll().is_some() {}
                dialog.handle(DialogInput::Timeout, Duration::from_secs(second * 60));
            }
        }
    }
});
