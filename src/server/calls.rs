//! The calls that the store keeps, as the API reads them.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::api::{Calls, Page, StoreUnavailable};
use crate::store::record::CallId;
use crate::store::{CallDetail, CallRow, Store, StoreError};

/// Reads calls from the store.
pub struct StoredCalls(pub Store);

impl Calls for StoredCalls {
    fn list(&self, page: Page) -> BoxFuture<'_, Result<Vec<CallRow>, StoreUnavailable>> {
        let limit = u32::try_from(page.limit).unwrap_or(u32::MAX);
        async move { self.0.recent_calls(limit, page.before).await.map_err(unavailable) }.boxed()
    }

    fn one(&self, id: CallId) -> BoxFuture<'_, Result<Option<CallDetail>, StoreUnavailable>> {
        async move { self.0.call(id).await.map_err(unavailable) }.boxed()
    }
}

fn unavailable(error: StoreError) -> StoreUnavailable {
    tracing::warn!(%error, "calls cannot be read");
    StoreUnavailable
}
