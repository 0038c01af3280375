//! Do the certificate files hold, and for how long?

use std::time::Duration;

use jiff::Timestamp;

use super::Report;
use crate::config::Config;
use crate::transport::sip::tls::{Tls, own_chain};

pub fn check(config: &Config, report: &mut Report) {
    let settings = &config.sip.tls;
    if settings.certificate.is_none() && settings.ca.is_none() {
        return report.good("sip.tls", "no certificate of our own: TLS to trunks only");
    }
    let tls = match Tls::load(settings) {
        Ok(tls) => tls,
        Err(error) => return report.problem("sip.tls", error),
    };
    let Some(validity) = tls.validity() else {
        return report.good("sip.tls", "the roots in sip.tls.ca can be read");
    };
    let left = validity.not_after.duration_since(Timestamp::now());
    let days = left.as_hours() / 24;
    if left.unsigned_abs() < SOON {
        report.warning("sip.tls.certificate", format!("expires in {days} days, on {}", validity.not_after));
    } else {
        report.good("sip.tls.certificate", format!("holds for {days} days, and the key goes with it"));
    }
    match own_chain(settings) {
        Ok(()) => report.good("sip.tls.certificate", "its chain leads to a root that this machine knows"),
        Err(why) => report.warning(
            "sip.tls.certificate",
            format!("peers need its root: its chain leads to none that this machine knows ({why})"),
        ),
    }
}

/// A certificate should be renewed before it has so little left.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
