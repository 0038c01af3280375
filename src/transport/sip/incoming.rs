//! Calls that come in from trunks: each takes one of its trunk's places until it ends.

use std::collections::HashMap;

use offhook_sip::message::ExtraHeader;
use offhook_sip::{CallHandle, Command, Flow};

use super::trunks::{TrunkFull, TrunkPermit, Trunks};

pub struct FromTrunks {
    trunks: Trunks,
    retry_after_s: u32,
    /// As many as calls are going on.
    permits: HashMap<u64, TrunkPermit>,
}

impl FromTrunks {
    pub fn new(trunks: Trunks, retry_after_s: u32) -> Self {
        Self { trunks, retry_after_s, permits: HashMap::new() }
    }

    /// # Errors
    /// The refusal of a call whose trunk has no place left.
    pub fn admit(&mut self, call: CallHandle, flow: &Flow) -> Result<(), Command> {
        let Some(name) = self.trunks.of_source(flow.remote.ip()) else { return Ok(()) };
        match self.trunks.admit_incoming(&name) {
            Ok(permit) => {
                self.permits.extend(permit.map(|permit| (call.as_u64(), permit)));
                Ok(())
            }
            Err(TrunkFull) => {
                let headers = ExtraHeader::new("Retry-After", self.retry_after_s.to_string()).into_iter().collect();
                Err(Command::Reject { call, status: 503, headers })
            }
        }
    }

    pub fn ended(&mut self, call: CallHandle) {
        self.permits.remove(&call.as_u64());
    }
}
