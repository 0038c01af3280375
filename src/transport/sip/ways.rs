//! The ways out by the trunks of the configuration, with a place on the trunk for each call that takes one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::RngExt;

use super::faces::Faces;
use super::media::MediaProfile;
use super::routes::{Direct, Route, Routes, Wanted};
use super::trunks::{TrunkPermit, Trunks};
use crate::clock;

/// SIP addresses with an IP address for a host go straight there; everything else by the trunks.
pub struct ByTrunks {
    trunks: Trunks,
    faces: Faces,
    direct: Direct,
    /// As many as calls of ours are going on.
    permits: HashMap<Arc<str>, Vec<TrunkPermit>>,
}

impl ByTrunks {
    pub fn new(trunks: Trunks, faces: Faces, local: SocketAddr, user: String) -> Self {
        Self { trunks, faces, direct: Direct { local, user }, permits: HashMap::new() }
    }
}

impl Routes for ByTrunks {
    fn route(&mut self, wanted: Wanted<'_>) -> Vec<Route> {
        let direct = self.direct.route(wanted);
        if !direct.is_empty() {
            return direct;
        }
        let flow = |target: super::resolve::Target| self.faces.flow(target.transport, target.address, None);
        self.trunks.route(wanted, flow, |below| rand::rng().random_range(0..below.max(1)))
    }

    fn profile_of(&self, source: IpAddr) -> Option<MediaProfile> {
        self.trunks.profile_of(source)
    }

    fn trunk_of(&self, source: IpAddr) -> Option<Arc<str>> {
        self.trunks.of_source(source)
    }

    fn begin(&mut self, trunk: &str) -> bool {
        let Some(permit) = self.trunks.admit(trunk, clock::now()) else { return false };
        self.permits.entry(trunk.into()).or_default().push(permit);
        true
    }

    fn ended(&mut self, trunk: &str) {
        self.permits.get_mut(trunk).and_then(Vec::pop);
    }
}
