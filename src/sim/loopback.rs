//! The harness against two tiny servers on loopback: a bot that plays a tone, stops for a voice that lasts, and starts
//! again 200 ms after it. They hold the harness itself to account before it judges any other server.
//!
//! Deliberately absent: figures. What a machine under load measures is not what it should have measured; the arithmetic is
//! tested on scripted times in `analysis` and `metrics`, the caller's judgement in `caller`.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Parser;
use offhook_sip::{Command, Endpoint, EndpointConfig, Event, Flow, Input, Output, Transport};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept};

use super::audio::{FRAME, SILENCE, VOICED_DBFS, amplitude, linear_all, rms, ulaw};
use super::clock::RunClock;
use super::metrics::Metric;
use super::options::Options;
use super::records::RecordSource;
use super::report::Report;
use super::rtp_wire::{self, PCMU, Sender};
use super::run::{Server, Target, run, scenarios};
use super::scenario::Scenario;
use super::twilio_leg::TwilioTarget;

const SHORT: &str = r#"
name: barge-in on loopback
call: "1000"
patience_ms: 120000
steps:
  - wait_for_speech: { within_ms: 30000 }
  - noise_burst: { kind: white, ms: 60, level_dbfs: -25, at: { after_speech_ms: 200 } }
  - expect_still_speaking: { for_ms: 200 }
  - say: { audio: [human/hello.wav, human/please-try-again.wav], at: { after_speech_ms: 800 } }
  - expect_silence_within_ms: 30000
  - expect_speech: { within_ms: 30000, known_delay_ms: 200 }
  - key: "5"
  - expect_silence_within_ms: 30000
  - hang_up
pass:
  - { metric: failures, max: 0 }
  - { metric: false_stops, max: 0 }
"#;

/// What both servers say: a tone until a voice or a key stops it.
#[derive(Default)]
struct ToneBot {
    voiced_frames: u32,
    silent_frames: u32,
    stopped: bool,
    keyed: bool,
}

impl ToneBot {
    /// Returns whether it has just fallen silent.
    fn hear(&mut self, octets: &[u8]) -> bool {
        let voiced = rms(&linear_all(octets)) > amplitude(VOICED_DBFS) * 2.0;
        self.voiced_frames = if voiced { self.voiced_frames + 1 } else { 0 };
        self.silent_frames = if voiced { 0 } else { self.silent_frames + 1 };
        let was = self.stopped;
        if self.voiced_frames >= 6 {
            self.stopped = true;
        } else if self.silent_frames >= 10 {
            self.stopped = self.keyed;
        }
        self.stopped && !was
    }

    fn press(&mut self) {
        self.keyed = true;
        self.stopped = true;
    }

    fn speak(&self) -> [u8; FRAME] {
        let tone = |i: usize| ulaw((3000.0 * (i as f64 * std::f64::consts::TAU / 16.0).sin()) as i16);
        if self.stopped { [SILENCE; FRAME] } else { std::array::from_fn(tone) }
    }
}

/// Serves SIP calls until it is told to stop.
fn serve_sip(signalling: UdpSocket, stop: &AtomicBool) {
    signalling.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let local = signalling.local_addr().unwrap();
    let start = RunClock::start();
    let mut endpoint = Endpoint::new(EndpointConfig::default(), 7);
    let mut calls: Vec<(offhook_sip::CallHandle, UdpSocket, SocketAddr, ToneBot, Sender)> = Vec::new();
    let mut due = Duration::ZERO;
    let mut buffer = [0u8; 4096];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, remote)) = signalling.recv_from(&mut buffer) {
            let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
            endpoint.handle(Input::Message { flow, bytes: Bytes::copy_from_slice(&buffer[..length]) }, start.now());
        }
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => drop(signalling.send_to(&bytes, flow.remote)),
                Output::Event(Event::Incoming { call, invite, .. }) => {
                    let media = UdpSocket::bind("127.0.0.1:0").unwrap();
                    media.set_nonblocking(true).unwrap();
                    let offer = String::from_utf8(invite.offer.unwrap().to_vec()).unwrap();
                    let port: u16 = offer.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
                    let own = media.local_addr().unwrap().port();
                    let sdp = format!(
                        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {own} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
                    );
                    endpoint.handle(Input::Command(Command::Answer { call, sdp: sdp.into() }), start.now());
                    calls.push((
                        call,
                        media,
                        SocketAddr::from(([127, 0, 0, 1], port)),
                        ToneBot::default(),
                        Sender::new(99),
                    ));
                }
                Output::Event(Event::Ended { call, .. }) => calls.retain(|c| c.0 != call),
                Output::Event(_) => {}
            }
        }
        if start.now() >= due {
            due += Duration::from_millis(20);
            endpoint.handle(Input::Timeout, start.now());
            for (_, media, remote, bot, sender) in &mut calls {
                while let Ok((length, _)) = media.recv_from(&mut buffer) {
                    let packet = rtp_wire::read(&buffer[..length]).unwrap();
                    if packet.payload_type == PCMU {
                        let _ = bot.hear(packet.payload);
                    } else {
                        bot.press();
                    }
                }
                for packet in sender.frame(&bot.speak()) {
                    media.send_to(&packet, *remote).unwrap();
                }
            }
        }
    }
}

/// Serves one connection of Twilio: its webhook or its media stream.
fn serve_twilio(mut stream: TcpStream) {
    let mut head = [0u8; 4];
    stream.peek(&mut head).unwrap();
    if &head == b"POST" {
        use std::io::{Read, Write};
        let mut request = [0u8; 4096];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        assert!(request.contains("X-Twilio-Signature: ") && request.contains("CallSid=CA"), "{request}");
        let twiml = "<Response><Connect><Stream url=\"wss://bot.example/webhook/media-stream\"/></Connect></Response>";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{twiml}", twiml.len());
        return stream.write_all(answer.as_bytes()).unwrap();
    }
    let mut socket = accept(stream).unwrap();
    socket.get_ref().set_nonblocking(true).unwrap();
    speak_over(&mut socket);
}

fn speak_over(socket: &mut WebSocket<TcpStream>) {
    let (start, mut frames, mut bot, mut stream) = (RunClock::start(), 0u32, ToneBot::default(), String::new());
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                let fell_silent = match message["event"].as_str().unwrap() {
                    "start" => {
                        stream = message["streamSid"].as_str().unwrap().to_owned();
                        false
                    }
                    "media" => bot.hear(&STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap()),
                    "dtmf" => {
                        bot.press();
                        true
                    }
                    "stop" => return,
                    _ => false,
                };
                if fell_silent {
                    socket.send(Message::text(format!(r#"{{"event":"clear","streamSid":"{stream}"}}"#))).unwrap();
                }
            }
            Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {
                // 60 ms ahead of real time, as a careful server is.
                let wanted = (start.now().as_millis() / 20) as u32 + 3;
                if frames < wanted && !stream.is_empty() {
                    frames += 1;
                    if !bot.stopped {
                        let payload = STANDARD.encode(bot.speak());
                        let media =
                            format!(r#"{{"event":"media","streamSid":"{stream}","media":{{"payload":"{payload}"}}}}"#);
                        drop(socket.send(Message::text(media)));
                    }
                } else {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
            _ => return,
        }
    }
}

fn options(line: &str) -> Options {
    Options::parse_from(std::iter::once("sim_call").chain(line.split_whitespace()))
}

fn make_calls(options: &Options, target: Target) -> Report {
    let scenario = Arc::new(Scenario::parse("loopback.yaml", SHORT).unwrap());
    run(options, &Server { target, records: None::<RecordSource>, watch: None }, &[scenario]).unwrap()
}

/// Calls until all calls of a run are as scripted. Stalls of the machine look like stops of the bot, so a run or two may
/// not be; a harness that errs does so every time.
fn calls_as_scripted(options: &Options, target: &Target) -> Report {
    let mut wrong = Vec::new();
    for _ in 0..RUNS {
        let report = make_calls(options, target.clone());
        assert_eq!(report.calls.len(), CALLS);
        assert_eq!(report.samples.values(Metric::SetupMs).len(), CALLS, "{}", report.json()["failures"]);
        match what_is_wrong(&report) {
            None => return report,
            Some(why) => wrong.push(why),
        }
    }
    panic!("never as scripted: {wrong:#?}");
}

fn what_is_wrong(report: &Report) -> Option<String> {
    let failures = report.json()["failures"].to_string();
    if !report.passed() || failures != "[]" {
        return Some(format!("failures: {failures}"));
    }
    let each = [Metric::BargeInMs, Metric::ResponseGapMs, Metric::ResponseOverheadMs, Metric::LostFrames];
    let measured = |metric| report.samples.values(metric).len();
    if let Some(metric) = each.into_iter().find(|&metric| measured(metric) != CALLS) {
        return Some(format!("{metric:?}: {} of {CALLS} calls", measured(metric)));
    }
    let lost = report.samples.values(Metric::LostFrames);
    lost.iter().any(|&frames| frames != 0.0).then(|| format!("lost frames: {lost:?}"))
}

#[test]
fn calls_over_sip_go_as_scripted_and_are_measured() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = Target::Sip(socket.local_addr().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let bot = std::thread::spawn(move || serve_sip(socket, &stopped));
    let report = calls_as_scripted(&options("--via sip --target ignored:1 --calls 4 --rate 50 --quiet"), &target);
    stop.store(true, Ordering::Relaxed);
    bot.join().unwrap();
    let dir = std::env::temp_dir().join(format!("offhook-sim-report-{}", uuid::Uuid::now_v7().simple()));
    report.write(&dir).unwrap();
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    for expected in ["barge_in_ms", "waveform of call 0", "turns of call 0", "onset", "stop "] {
        assert!(page.contains(expected), "{expected}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap();
    assert_eq!(json["metrics"]["barge_in_ms"]["n"], 4);
    assert!(json["metrics"]["asr_ms"]["p50"].is_null() && json["metrics"]["asr_ms"]["n"] == 0);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn calls_over_twilio_go_as_scripted_and_are_measured() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve_twilio(stream.unwrap()));
        }
    });
    let public_url = "https://bot.example".to_owned();
    let target = Target::Twilio(TwilioTarget { address, public_url, auth_token: "secret".into() });
    calls_as_scripted(&options("--via twilio --target ignored:1 --calls 4 --rate 50 --quiet"), &target);
}

#[test]
fn a_server_that_is_not_there_fails_every_call_and_the_run() {
    // Bound and never listening: it refuses, and nobody else can come to listen there.
    let nowhere = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    nowhere.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = nowhere.local_addr().unwrap().as_socket().unwrap().to_string();
    let target = Target::Twilio(TwilioTarget { address, public_url: "http://x".into(), auth_token: "".into() });
    let report = make_calls(&options("--via twilio --target ignored:1 --calls 2 --rate 50 --quiet"), target);
    assert!(!report.passed());
    assert_eq!(report.json()["failures"].as_array().map(Vec::len), Some(2));
    assert_eq!(report.json()["failures"][0]["step"], "setup");
}

#[test]
fn the_shipped_mix_is_the_default() {
    assert!(scenarios(&[] as &[&str]).unwrap().len() >= 5);
}

const CALLS: usize = 4;
const RUNS: usize = 5;
