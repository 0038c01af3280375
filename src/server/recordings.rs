//! What the API may do about recordings: find the file of one that is over, and tell a call that goes on.

use std::path::PathBuf;

use crate::api::RecordingDoor;
use crate::call::core::CallInput;
use crate::call::registry::Registry;
use crate::dialog::RecordingOrder;
use crate::store::record::{CallId, RecordingName};

/// The folder of recordings and the live calls of a running server.
pub struct ServerRecordings {
    folder: PathBuf,
    registry: Registry,
}

impl ServerRecordings {
    pub const fn new(folder: PathBuf, registry: Registry) -> Self {
        Self { folder, registry }
    }
}

impl RecordingDoor for ServerRecordings {
    fn path(&self, call: CallId, name: RecordingName) -> PathBuf {
        self.folder.join(name.file(call))
    }

    fn order(&self, call: CallId, order: RecordingOrder) -> bool {
        self.registry.find(call).map(|live| live.port.signal(CallInput::Recording(order))).is_some()
    }
}
