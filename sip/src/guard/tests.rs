//! The guard's rules on virtual time.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn guard(adjust: impl Fn(&mut GuardConfig)) -> Guard {
    let mut config = GuardConfig::default();
    adjust(&mut config);
    Guard::new(config, 1)
}

const S: fn(u64) -> Moment = Moment::from_secs;

#[test]
fn a_source_may_burst_but_not_flood_and_recovers() {
    let mut guard = guard(|_| {});
    let source = ip("203.0.113.1");
    for _ in 0..60 {
        assert_eq!(guard.check(source, &Method::Invite, None, S(1)), Verdict::Pass);
    }
    assert_eq!(guard.check(source, &Method::Invite, None, S(1)), Verdict::Refuse(503));
    assert_eq!(guard.check(ip("203.0.113.2"), &Method::Invite, None, S(1)), Verdict::Pass);
    assert_eq!(guard.check(source, &Method::Invite, None, S(2)), Verdict::Pass);
    for _ in 0..200 {
        guard.check(source, &Method::Options, None, S(2));
    }
    assert_eq!(guard.counts().bans, 1);
    assert_eq!(guard.check(source, &Method::Invite, None, S(300)), Verdict::Silence);
    assert_eq!(guard.check(source, &Method::Invite, None, S(303)), Verdict::Pass);
    // Of 100 tokens 89 were back at 2 s: one INVITE, 40 OPTIONS that were served, 48 that were not.
    assert_eq!(guard.counts().refused(GuardReason::Rate), 1 + 48);
}

#[test]
fn failures_ban_and_trust_protects() {
    let mut guard = guard(|config| config.trusted = vec!["198.51.100.0/24".parse().unwrap()]);
    for source in ["203.0.113.1", "198.51.100.7"] {
        for _ in 0..21 {
            guard.failure(ip(source), S(5));
        }
    }
    assert_eq!(guard.check(ip("203.0.113.1"), &Method::Register, None, S(6)), Verdict::Silence);
    assert_eq!(guard.check(ip("198.51.100.7"), &Method::Register, None, S(6)), Verdict::Pass);
    guard.know(vec!["203.0.113.1".parse().unwrap()]);
    assert_eq!(guard.check(ip("203.0.113.1"), &Method::Register, None, S(6)), Verdict::Pass);
    assert_eq!((guard.counts().bans, guard.counts().refused(GuardReason::Banned)), (1, 1));
}

#[test]
fn a_peer_is_held_to_generous_limits_and_never_banned() {
    let peers = vec!["198.51.100.0/24".parse().unwrap()];
    let mut guard = guard(|config| {
        (config.unknown, config.peers) = (Unknown::Silent, peers.clone());
        (config.peer_requests, config.peer_invites) = (Limit::new(100, S(2)), Limit::new(40, S(2)));
    });
    let (trunk, other, stranger) = (ip("198.51.100.7"), ip("198.51.100.8"), ip("203.0.113.1"));
    // Somebody forges the trunk's address, with wrong credentials and an attack tool on top.
    for _ in 0..10_000 {
        guard.failure(trunk, S(1));
    }
    let verdicts: Vec<Verdict> =
        (0..200).map(|_| guard.check(trunk, &Method::Invite, Some("friendly-scanner"), S(1))).collect();
    let count = |verdict| verdicts.iter().filter(|other| **other == verdict).count();
    assert_eq!((count(Verdict::Pass), count(Verdict::Refuse(503)), count(Verdict::Silence)), (40, 60, 100));
    assert_eq!(guard.check(other, &Method::Invite, None, S(1)), Verdict::Pass, "each address by itself");
    assert_eq!(guard.check(stranger, &Method::Invite, None, S(1)), Verdict::Silence);
    assert_eq!(guard.malformed(trunk, S(1)), Verdict::Silence);
    // The flood is over: the trunk is served at once, and no ban is in its way.
    assert_eq!(guard.check(trunk, &Method::Invite, None, S(3)), Verdict::Pass);
    assert_eq!((guard.counts().bans, guard.counts().refused(GuardReason::Rate)), (0, 160));
    guard.know(Vec::new());
    assert_eq!(guard.check(trunk, &Method::Invite, None, S(9)), Verdict::Silence, "no longer a trunk's");
}

#[test]
fn scanners_and_strangers_hear_what_the_settings_say() {
    let agent = Some("SIPVicious 0.3 FRIENDLY-scanner");
    for (scanners, wanted) in [
        (Scanners::Silent, Verdict::Silence),
        (Scanners::Forbid, Verdict::Refuse(403)),
        (Scanners::Serve, Verdict::Pass),
    ] {
        let mut guard = guard(|config| config.scanners = scanners);
        assert_eq!(guard.check(ip("203.0.113.1"), &Method::Options, agent, S(1)), wanted);
        assert_eq!(guard.check(ip("203.0.113.1"), &Method::Options, Some("Grandstream"), S(1)), Verdict::Pass);
    }
    for (unknown, wanted) in [(Unknown::Silent, Verdict::Silence), (Unknown::Forbid, Verdict::Refuse(403))] {
        let mut guard = guard(|config| config.unknown = unknown);
        assert_eq!(guard.check(ip("203.0.113.1"), &Method::Invite, None, S(1)), wanted);
        assert_eq!(guard.check(ip("127.0.0.1"), &Method::Invite, agent, S(1)), Verdict::Pass);
        assert_eq!(guard.counts().refused(GuardReason::Unknown), 1);
    }
}

#[test]
fn malformed_messages_are_answered_ten_times_and_then_ban() {
    let mut guard = guard(|_| {});
    let answered = (0..30).filter(|_| guard.malformed(ip("203.0.113.1"), S(1)) == Verdict::Pass).count();
    assert_eq!((answered, guard.counts().bans), (10, 1));
}

#[test]
fn an_ipv6_customer_is_one_source() {
    let mut guard = guard(|config| config.options = Limit::new(1, S(2)));
    assert_eq!(guard.check(ip("2001:db8::1"), &Method::Options, None, S(1)), Verdict::Pass);
    assert_eq!(guard.check(ip("2001:db8::ffff:2"), &Method::Options, None, S(1)), Verdict::Silence);
    assert_eq!(guard.check(ip("2001:db8:0:1::1"), &Method::Options, None, S(1)), Verdict::Pass);
}

#[test]
fn forged_sources_fill_no_memory_and_do_not_free_a_banned_one() {
    let mut guard = guard(|config| config.max_sources = 1024);
    let bad = ip("203.0.113.1");
    (0..21).for_each(|_| guard.failure(bad, S(1)));
    for number in 0..200_000_u32 {
        guard.check(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0b00_0000 + number)), &Method::Invite, None, S(2));
    }
    let counts = guard.counts();
    assert_eq!((counts.sources, counts.evicted), (1024, 200_001 - 1024));
    assert_eq!(guard.check(bad, &Method::Invite, None, S(3)), Verdict::Silence);
}
