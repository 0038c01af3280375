//! Offers as phones, trunks and strangers make them.

use super::*;

fn local() -> LocalMedia {
    LocalMedia::new([10, 0, 0, 2].into(), 20_000, [Codec::Pcma, Codec::Pcmu])
}

const SESSION: Session = Session { id: 7, version: 1 };

fn offer(body: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=5 0\r\n{body}")
}

fn take(text: &str) -> Result<Negotiated, SdpError> {
    negotiate(&SessionDescription::parse(text.as_bytes())?, &local(), SESSION)
}

fn events(agreed: &Agreed) -> Option<(u8, u32)> {
    agreed.telephone_event.map(|event| (event.payload_type, event.clock_hz))
}

fn problem(body: &str) -> SdpProblem {
    take(&offer(body)).unwrap_err().problem
}

#[test]
fn a_plain_offer_is_answered_in_its_own_order() {
    let body = "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n";
    let taken = take(&offer(body)).unwrap();
    let agreed = taken.agreed;
    assert_eq!((agreed.codec, agreed.payload_type, events(&agreed)), (Codec::Pcmu, 0, Some((101, 8000))));
    assert_eq!((agreed.ptime_ms, agreed.direction), (30, Direction::SendRecv));
    assert_eq!(agreed.remote_rtp, Some("10.0.0.1:4000".parse().unwrap()));
    assert_eq!(agreed.remote_rtcp, Some("10.0.0.1:4001".parse().unwrap()));
    assert_eq!(
        taken.answer,
        "v=0\r\no=- 7 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=5 0\r\nm=audio 20000 RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:30\r\na=maxptime:60\r\na=sendrecv\r\n"
    );
}

#[test]
fn other_streams_are_refused_in_their_place() {
    let body =
        "m=video 3000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 8\r\nm=audio 5000 RTP/AVP 0\r\nm=image 6000 udptl t38\r\n";
    let answer = take(&offer(body)).unwrap().answer;
    let lines: Vec<_> = answer.lines().filter(|line| line.starts_with("m=")).collect();
    let wanted = ["m=video 0 RTP/AVP 31", "m=audio 20000 RTP/AVP 8", "m=audio 0 RTP/AVP 0", "m=image 0 udptl t38"];
    assert_eq!(lines, wanted);
}

#[test]
fn every_kind_of_hold_is_answered_by_its_counterpart() {
    let cases = [
        ("a=sendonly\r\n", Direction::RecvOnly),
        ("a=recvonly\r\n", Direction::SendOnly),
        ("a=inactive\r\n", Direction::Inactive),
        ("c=IN IP4 0.0.0.0\r\n", Direction::RecvOnly),
        ("c=IN IP4 0.0.0.0\r\na=inactive\r\n", Direction::Inactive),
    ];
    for (attribute, wanted) in cases {
        let taken = take(&offer(&format!("m=audio 4000 RTP/AVP 0\r\n{attribute}"))).unwrap();
        assert_eq!(taken.agreed.direction, wanted, "{attribute}");
        assert!(taken.answer.ends_with(&format!("a={}\r\n", wanted.as_str())));
        assert_eq!(taken.agreed.remote_rtp.is_none(), attribute.contains("0.0.0.0"));
    }
    let whole = offer("m=audio 4000 RTP/AVP 0\r\n").replace("t=5", "a=sendonly\r\nt=5");
    assert_eq!(take(&whole).unwrap().agreed.direction, Direction::RecvOnly);
}

#[test]
fn payload_types_are_read_by_their_maps() {
    let body = "m=audio 4000 RTP/AVP 96 97 98\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 pcma/8000/1\r\n\
                a=rtpmap:98 telephone-event/48000\r\n";
    let agreed = take(&offer(body)).unwrap().agreed;
    assert_eq!((agreed.codec, agreed.payload_type, events(&agreed)), (Codec::Pcma, 97, None));
    let body = "m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/16000\r\na=rtpmap:101 telephone-event/8000\r\n";
    let agreed = take(&offer(body)).unwrap().agreed;
    assert_eq!((agreed.codec, agreed.telephone_event), (Codec::Pcma, None), "101 is mapped but not listed");
}

#[test]
fn packet_times_are_clamped() {
    let cases = [("5", 10), ("0", 10), ("20", 20), ("25", 20), ("50", 40), ("60", 60), ("4294967295", 60)];
    for (stated, wanted) in cases {
        let body = format!("m=audio 4000 RTP/AVP 0\r\na=ptime:{stated}\r\n");
        assert_eq!(take(&offer(&body)).unwrap().agreed.ptime_ms, wanted);
    }
    let body = "m=audio 4000 RTP/AVP 0\r\na=ptime:40\r\na=maxptime:20\r\n";
    assert_eq!(take(&offer(body)).unwrap().agreed.ptime_ms, 20);
}

#[test]
fn what_cannot_be_carried_is_refused_by_name() {
    use SdpProblem::*;
    let cases = [
        ("", NoAudio),
        ("m=audio 0 RTP/AVP 0\r\n", NoAudio),
        ("m=video 4000 RTP/AVP 31\r\n", NoAudio),
        ("m=audio 4000 RTP/SAVP 0\r\n", SecureOnly),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n", SecureOnly),
        ("m=audio 4000 RTP/AVP 9 18\r\n", NoCodec),
        ("m=audio 53 RTP/AVP 0\r\n", ForbiddenPort),
        ("m=audio 65536 RTP/AVP 0\r\n", BadMedia),
        ("m=audio -1 RTP/AVP 0\r\n", BadMedia),
        ("m=audio 4000 RTP/AVP\r\n", BadMedia),
        ("m=audio 4000 RTP/AVP 128\r\n", BadMedia),
        ("m=audio 4000 RTP/AVP 4294967296\r\n", BadMedia),
        ("m=audio 4000 RTP/AVP 0\r\na=rtpmap:0\r\n", BadRtpMap),
        ("m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/99999999999\r\n", BadRtpMap),
        ("m=audio 4000 RTP/AVP 0\r\na=ptime:-20\r\n", BadPtime),
        ("m=audio 4000 RTP/AVP 0\r\na=ptime:4294967296\r\n", BadPtime),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 media.example.com\r\n", NamedAddress),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 255.255.255.255\r\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 169.254.169.254\r\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 ::ffff:169.254.169.254\r\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.1\r\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n", OtherFamily),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 2001:db8::1\r\n", BadConnection),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 1.2.3\r\n", BadConnection),
        ("m=audio 4000 RTP/AVP 0\r\na=fmtp:101 \0\r\n", ControlCharacter),
        ("nonsense\r\n", BadLine),
    ];
    for (body, wanted) in cases {
        assert_eq!(problem(body), wanted, "{body}");
    }
}

#[test]
fn errors_name_the_line() {
    let error = take(&offer("m=audio 4000 RTP/AVP 0\r\na=ptime:x\r\n")).unwrap_err();
    assert_eq!(error.to_string(), "SDP line 7: ptime is not a whole number of milliseconds");
    assert_eq!(error.status(), 488);
    assert_eq!(take("v=1\r\n").unwrap_err(), SdpError::new(1, SdpProblem::BadVersion));
    assert_eq!(take("").unwrap_err().problem, SdpProblem::BadVersion);
    let bare = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    assert_eq!(take(bare).unwrap_err(), SdpError::new(5, SdpProblem::NoConnection));
}

#[test]
fn ipv6_streams_are_taken_by_ipv6_hosts() {
    let local = LocalMedia { address: "2001:db8::2".parse().unwrap(), ..local() };
    let text = offer("m=audio 4000 RTP/AVP 0\r\n").replace("IP4 10.0.0.1\r\nt", "IP6 2001:db8::1\r\nt");
    let taken = negotiate(&SessionDescription::parse(text.as_bytes()).unwrap(), &local, SESSION).unwrap();
    assert_eq!(taken.agreed.remote_rtp, Some("[2001:db8::1]:4000".parse().unwrap()));
    assert!(taken.answer.contains("c=IN IP6 2001:db8::2\r\n"));
}
