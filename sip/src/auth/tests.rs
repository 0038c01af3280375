//! Vectors of the RFCs, and what is answered, refused and given up.

use super::hash::Material;
use super::server::Verifier;
use super::*;
use crate::Moment;
use crate::message::{Message, Method};
use bytes::Bytes;
use proptest::prelude::*;
use std::net::IpAddr;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const S: fn(u64) -> Moment = Moment::from_secs;

struct Vector {
    user: [&'static str; 3],
    algorithm: &'static str,
    nonce: &'static str,
    cnonce: &'static str,
    counted: bool,
    request: [&'static str; 2],
    response: &'static str,
}

fn check(vector: &Vector) {
    let algorithm = Algorithm::from_name(vector.algorithm).unwrap();
    let [user, realm, password] = vector.user;
    let material = Material {
        algorithm,
        nonce: vector.nonce,
        cnonce: vector.cnonce,
        count: vector.counted.then_some("00000001"),
        method: vector.request[0],
        uri: vector.request[1],
    };
    let response = material.response(&algorithm.hash.key(user, realm, password));
    assert_eq!(response, vector.response, "{} {}", vector.algorithm, vector.nonce);
}

#[test]
fn vectors_of_the_rfcs() {
    let get = ["GET", "/dir/index.html"];
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let mufasa = ["Mufasa", "http-auth@example.org", "Circle of Life"];
    let old = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
    // RFC 7616 section 3.9.1, both algorithms; RFC 2617 section 3.5; RFC 2069 section 2.4 as corrected.
    for (algorithm, response) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        check(&Vector { user: mufasa, algorithm, nonce, cnonce, counted: true, request: get, response });
    }
    let user = ["Mufasa", "testrealm@host.com", "Circle Of Life"];
    let response = "6629fae49393a05397450978507c4ef1";
    check(&Vector { user, algorithm: "MD5", nonce: old, cnonce: "0a4f113b", counted: true, request: get, response });
    let user = ["Mufasa", "testrealm@host.com", "CircleOfLife"];
    let response = "1949323746fe6a43ef61f9606e7febea";
    check(&Vector { user, algorithm: "md5", nonce: old, cnonce: "", counted: false, request: get, response });
}

fn refusal(status: u16, fields: &[&str]) -> Message {
    let name = if status == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
    let fields: String = fields.iter().map(|field| format!("{name}: {field}\r\n")).collect();
    Message::parse(Bytes::from(format!("SIP/2.0 {status} No\r\n{fields}Content-Length: 0\r\n\r\n"))).unwrap()
}

fn answerer(realm: Option<&str>) -> Answerer {
    let (username, password) = ("bob".to_owned(), Secret::new("zanzibar"));
    Answerer::new(Credentials { username, password, realm: realm.map(str::to_owned) })
}

fn fields(answerer: &mut Answerer) -> Vec<String> {
    answerer.fields(&Method::Invite, "sip:bob@biloxi.com", "0a4f").into_iter().map(|answer| answer.value).collect()
}

#[test]
fn the_strongest_challenge_of_the_right_realm_is_answered() {
    let offered = [
        "Digest realm=\"other\",nonce=\"n0\",algorithm=SHA-256",
        "Basic realm=\"biloxi.com\", Digest realm=\"biloxi.com\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"",
        "Digest realm=\"biloxi.com\",nonce=\"n2\",algorithm=SHA-256,qop=\"auth-int,auth\",opaque=\"o\\\"p\"",
        "Digest realm=\"biloxi.com\",nonce=\"n3\",algorithm=SHA-256,qop=\"auth\"",
        "Digest realm=\"biloxi.com\",nonce=\"n4\",algorithm=SHA-512,qop=\"auth\"",
        "Digest realm=\"biloxi.com\",nonce=\"n5\",algorithm=SHA-512-256,qop=\"auth-int\"",
        "Digest realm=\"biloxi.com\"",
        "Bearer abc==",
    ];
    let mut ours = answerer(Some("biloxi.com"));
    ours.challenged(&refusal(401, &offered)).unwrap();
    let said = fields(&mut ours).concat();
    assert!(
        said.contains("nonce=\"n2\"") && said.contains(",opaque=\"o\\\"p\"") && said.contains("nc=00000001"),
        "{said}"
    );
    assert!(fields(&mut ours).concat().contains("nc=00000002"), "counts rise");
    assert_eq!(answerer(Some("x")).challenged(&refusal(401, &offered)), Err(NoAnswer::OtherRealm));
    assert_eq!(answerer(None).challenged(&refusal(401, &offered[7..])), Err(NoAnswer::Unsupported));
    assert_eq!(answerer(None).challenged(&refusal(401, &[])), Err(NoAnswer::Unsupported));
}

#[test]
fn answers_are_those_an_independent_program_computes() {
    // From Python's hashlib.
    for (challenge, response) in [
        ("algorithm=MD5,qop=\"auth\"", MD5_AUTH),
        ("stale=false", MD5_NONE),
        ("algorithm=MD5-sess,qop=\"auth\"", MD5_SESS),
        ("algorithm=SHA-256,qop=\"auth\"", SHA256_AUTH),
        ("algorithm=sha-256-SESS,qop=\"auth\"", SHA256_SESS),
        ("algorithm=SHA-256-sess", SHA256_SESS_NONE),
        ("algorithm=SHA-512-256,qop=\"auth\"", SHA512_256_AUTH),
    ] {
        let mut ours = answerer(None);
        ours.challenged(&refusal(401, &[&format!("Digest realm=\"biloxi.com\",nonce=\"dcd98b\",{challenge}")]))
            .unwrap();
        let said = fields(&mut ours).concat();
        assert!(said.contains(&format!("response=\"{response}\"")), "{challenge}: {said}");
        assert_eq!(said.contains("cnonce="), challenge.contains("qop") || challenge.contains("sess"));
        assert_eq!(said.contains("algorithm="), challenge.contains("algorithm"));
    }
}

#[test]
fn a_password_is_said_once_and_only_stale_asks_again() {
    let challenge = |nonce: &str, more: &str| refusal(401, &[&format!("Digest realm=\"r\",nonce=\"{nonce}\"{more}")]);
    let mut ours = answerer(None);
    ours.challenged(&challenge("1", "")).unwrap();
    assert_eq!(ours.challenged(&challenge("2", "")), Err(NoAnswer::Refused), "CVE-2020-28242");
    let mut ours = answerer(None);
    ours.challenged(&challenge("1", "")).unwrap();
    assert_eq!(ours.challenged(&challenge("1", ",stale=true")), Err(NoAnswer::Refused), "one answer per nonce");
    let mut ours = answerer(None);
    let rounds = (0..9).map_while(|nonce| ours.challenged(&challenge(&nonce.to_string(), ",stale=TRUE")).ok()).count();
    assert_eq!(rounds, 4);
    // The next request reuses the nonce; refused, it may take a new one.
    let mut ours = answerer(None);
    ours.challenged(&challenge("1", "")).unwrap();
    ours.begin();
    assert_eq!(fields(&mut ours).len(), 1);
    ours.challenged(&challenge("2", "")).unwrap();
    assert_eq!(ours.challenged(&challenge("3", "")), Err(NoAnswer::Refused));
    // A proxy and the host behind it are two.
    let mut ours = answerer(None);
    ours.challenged(&refusal(407, &["Digest realm=\"p\",nonce=\"1\""])).unwrap();
    ours.challenged(&challenge("2", "")).unwrap();
    let both = ours.fields(&Method::Bye, "sip:x", "c");
    assert_eq!(
        both.iter().map(|answer| answer.name.as_str()).collect::<Vec<_>>(),
        ["Proxy-Authorization", "Authorization"]
    );
}

fn verifier() -> Verifier {
    Verifier::new(ServerAuth::new("here", [3; 32]).user("bob", &Secret::new("zanzibar")))
}

fn invite(uri: &str, answers: &[String]) -> Message {
    let answers: String = answers.iter().map(|answer| format!("Authorization: {answer}\r\n")).collect();
    Message::parse(Bytes::from(format!("INVITE {uri} SIP/2.0\r\n{answers}Content-Length: 0\r\n\r\n"))).unwrap()
}

/// What bob says to a challenge; `which` of the two is offered to him.
fn bob(verifier: &mut Verifier, which: usize, at: u64) -> Vec<String> {
    let mut ours = answerer(None);
    let offered = verifier.challenges(false, HERE, S(at));
    ours.challenged(&refusal(401, &[&offered[which]])).unwrap();
    fields(&mut ours)
}

#[test]
fn a_user_is_known_by_either_algorithm_once_and_in_time() {
    for which in [0, 1] {
        let mut verifier = verifier();
        let answer = bob(&mut verifier, which, 1);
        let request = invite("sip:bob@biloxi.com", &answer);
        assert!(verifier.verify(&invite("sip:bob@biloxi.com", &[]), HERE, S(1)) == Identity::Unasked);
        assert!(verifier.verify(&invite("sip:900123@biloxi.com", &answer), HERE, S(2)) == Identity::Wrong);
        assert!(verifier.verify(&request, "192.0.2.9".parse().unwrap(), S(2)) == Identity::Stale);
        assert!(verifier.verify(&request, HERE, S(2)) == Identity::User("bob".into()));
        assert!(verifier.verify(&request, HERE, S(2)) == Identity::Stale, "a replay");
        let late = bob(&mut verifier, which, 1);
        assert!(verifier.verify(&invite("sip:bob@biloxi.com", &late), HERE, S(40)) == Identity::Stale);
        let elsewhere = invite("sip:bob@10.0.0.1:5060", &bob(&mut verifier, which, 50));
        assert!(verifier.verify(&elsewhere, HERE, S(51)) == Identity::User("bob".into()), "a proxy changed the host");
    }
}

#[test]
fn wrong_is_wrong_and_others_are_not_ours() {
    let mut verifier = verifier();
    let right = bob(&mut verifier, 0, 1).concat();
    for (from, to, wanted) in [
        ("username=\"bob\"", "username=\"alice\"", Identity::Wrong),
        ("response=\"", "response=\"0", Identity::Wrong),
        ("nonce=\"", "nonce=\"0", Identity::Wrong),
        ("SHA-256", "MD5", Identity::Wrong),
        ("SHA-256", "SHA-256-sess", Identity::Wrong),
        ("SHA-256", "SHA-1", Identity::Wrong),
        ("qop=auth", "qop=auth-int", Identity::Wrong),
        ("nc=00000001", "nc=1", Identity::Wrong),
        ("nc=00000001", "nc=+0000001", Identity::Wrong),
        ("cnonce=", "x=", Identity::Wrong),
        ("realm=\"here\"", "realm=\"there\"", Identity::Unasked),
        ("Digest ", "Basic ", Identity::Unasked),
        ("nc=", "nc=00000001,nc=", Identity::Wrong),
    ] {
        assert!(right.contains(from), "{from}");
        let bent = invite("sip:bob@biloxi.com", &[right.replacen(from, to, 1)]);
        assert!(verifier.verify(&bent, HERE, S(2)) == wanted, "{from} -> {to}");
    }
    let empty = ServerAuth::new("here", [3; 32]);
    let nobody = right.replacen("username=\"bob\"", "username=\"\"", 1);
    assert!(Verifier::new(empty).verify(&invite("sip:bob@biloxi.com", &[nobody]), HERE, S(2)) == Identity::Wrong);
}

#[test]
fn nothing_secret_is_printed() {
    let shown = format!(
        "{:?} {:?}",
        Secret::new("zanzibar"),
        Credentials { username: "bob".into(), password: Secret::new("zanzibar"), realm: None }
    );
    let server = format!("{:?}", ServerAuth::new("here", [3; 32]).user("bob", &Secret::new("zanzibar")));
    for text in [shown, server] {
        assert!(!text.contains("zanzibar") && !text.contains("bob"), "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(value in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (Challenge::parse(&value), Authorization::parse(&value));
    }

    #[test]
    fn text_like_a_field_is_read_or_refused(value in "(Digest|Basic)? ?([a-z]{1,8} ?[=,]? ?\"?[ -~]{0,6}\"?,? ?){0,8}") {
        let _ = (Challenge::parse(value.as_bytes()), Authorization::parse(value.as_bytes()));
    }

    #[test]
    fn a_challenge_reads_back(realm in "[ -~é]{0,20}", nonce in "[ -~]{1,40}", opaque in prop::option::of("[ -~]{0,9}"),
                              sha: bool, session: bool, qop: bool, stale: bool) {
        let hash = if sha { Hash::Sha256 } else { Hash::Md5 };
        let algorithm = Algorithm { hash, session };
        let challenge = Challenge { realm, nonce, opaque, algorithm, named: true, qop, stale };
        prop_assert_eq!(Challenge::parse(challenge.field().as_bytes()).unwrap(), [challenge]);
    }

    #[test]
    fn whoever_knows_the_password_is_let_in(user in "[!-~]{1,12}", password in "[ -~é]{0,16}", realm in "[ -~]{1,12}", which in 0_usize..2) {
        let secret = Secret::new(password);
        let mut verifier = Verifier::new(ServerAuth::new(realm, [1; 32]).user(user.clone(), &secret));
        let offered = verifier.challenges(false, HERE, S(1));
        let mut ours = Answerer::new(Credentials { username: user.clone(), password: secret, realm: None });
        ours.challenged(&refusal(401, &[&offered[which]])).unwrap();
        let request = invite("sip:bob@biloxi.com", &fields(&mut ours));
        prop_assert!(verifier.verify(&request, HERE, S(1)) == Identity::User(user));
    }
}

const MD5_AUTH: &str = "22d13d50894150b96940c56c69513a7d";
const MD5_NONE: &str = "72752b6ba97db2dae85bf526adfa0680";
const MD5_SESS: &str = "f6bac4164fe285b2f9a2178997fc045d";
const SHA256_AUTH: &str = "0a50972992b92ff646cc3f2249ad16932417b4ecf4191627fe44078503602691";
const SHA256_SESS: &str = "a7881b75c4df556c52f1b77afba938d55c118b9d2c21d767e7857c1c0f2fda2f";
const SHA256_SESS_NONE: &str = "6ff04ff9560bfc09bd500bed2a74bb3b56baf366dcd339842922358e6ffe4668";
const SHA512_256_AUTH: &str = "987ef475dd1a750ae806b6a9484791f7e8a76891f4a6b4e707a7653ef9b891b6";
