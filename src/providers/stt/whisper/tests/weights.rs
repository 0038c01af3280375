//! A file of weights as small as whisper.cpp takes, made so that it hears one word whatever is said: all layers pass on what
//! they get, and the place of a token in the answer alone says what comes next.

use std::io::Write as _;

/// What it hears.
pub(super) const WORD: &str = " hello";

/// The whole file.
pub(super) fn file() -> Vec<u8> {
    let mut file = Vec::new();
    put(&mut file, 0x6767_6d6c);
    let numbers = [VOCAB, AUDIO_CONTEXT, STATE, 1, 1, TEXT_CONTEXT, STATE, 1, 1, MELS, 1];
    numbers.iter().for_each(|number| put(&mut file, *number));
    put(&mut file, MELS);
    put(&mut file, 201);
    file.resize(file.len() + 4 * (MELS * 201) as usize, 0);
    put(&mut file, EOT + 1);
    for token in 0..=EOT {
        let text = match token {
            HEARD => WORD.to_owned(),
            BLANK => " ".to_owned(),
            _ => format!(" {token}"),
        };
        put(&mut file, u32::try_from(text.len()).unwrap());
        file.write_all(text.as_bytes()).unwrap();
    }
    encoder(&mut file);
    decoder(&mut file);
    file
}

fn encoder(file: &mut Vec<u8>) {
    single(file, "encoder.positional_embedding", &[STATE, AUDIO_CONTEXT], &[]);
    half(file, "encoder.conv1.weight", &[3, MELS, STATE], &[]);
    single(file, "encoder.conv1.bias", &[1, STATE], &[]);
    half(file, "encoder.conv2.weight", &[3, STATE, STATE], &[]);
    single(file, "encoder.conv2.bias", &[1, STATE], &[]);
    norm(file, "encoder.ln_post");
    layer(file, "encoder.blocks.0");
}

fn decoder(file: &mut Vec<u8>) {
    // Behind the two tokens that begin an answer comes the word, and behind it the end.
    let next = [(STATE + WORD_AXIS, 50.0), (2 * STATE + END_AXIS, 50.0)];
    single(file, "decoder.positional_embedding", &[STATE, TEXT_CONTEXT], &next);
    let tokens = [(HEARD * STATE + WORD_AXIS, 10.0), (EOT * STATE + END_AXIS, 10.0)];
    half(file, "decoder.token_embedding.weight", &[STATE, VOCAB], &tokens);
    norm(file, "decoder.ln");
    layer(file, "decoder.blocks.0");
    norm(file, "decoder.blocks.0.cross_attn_ln");
    attention(file, "decoder.blocks.0.cross_attn");
}

fn layer(file: &mut Vec<u8>, name: &str) {
    norm(file, &format!("{name}.mlp_ln"));
    half(file, &format!("{name}.mlp.0.weight"), &[STATE, 4 * STATE], &[]);
    single(file, &format!("{name}.mlp.0.bias"), &[4 * STATE], &[]);
    half(file, &format!("{name}.mlp.2.weight"), &[4 * STATE, STATE], &[]);
    single(file, &format!("{name}.mlp.2.bias"), &[STATE], &[]);
    norm(file, &format!("{name}.attn_ln"));
    attention(file, &format!("{name}.attn"));
}

fn attention(file: &mut Vec<u8>, name: &str) {
    for part in ["query", "key", "value", "out"] {
        half(file, &format!("{name}.{part}.weight"), &[STATE, STATE], &[]);
        if part != "key" {
            single(file, &format!("{name}.{part}.bias"), &[STATE], &[]);
        }
    }
}

/// Passes on what it gets.
fn norm(file: &mut Vec<u8>, name: &str) {
    let ones: Vec<(u32, f32)> = (0..STATE).map(|at| (at, 1.0)).collect();
    single(file, &format!("{name}.weight"), &[STATE], &ones);
    single(file, &format!("{name}.bias"), &[STATE], &[]);
}

fn single(file: &mut Vec<u8>, name: &str, shape: &[u32], values: &[(u32, f32)]) {
    let from = tensor(file, name, shape, 0, 4);
    for (at, value) in values {
        let at = from + 4 * *at as usize;
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

fn half(file: &mut Vec<u8>, name: &str, shape: &[u32], values: &[(u32, f32)]) {
    let from = tensor(file, name, shape, 1, 2);
    for (at, value) in values {
        assert!((*value - 10.0).abs() < f32::EPSILON, "10 is all that is needed of IEEE 754 half precision");
        let at = from + 2 * *at as usize;
        file[at..at + 2].copy_from_slice(&0x4900_u16.to_le_bytes());
    }
}

/// A tensor of zeros; gives where they begin.
fn tensor(file: &mut Vec<u8>, name: &str, shape: &[u32], kind: u32, bytes: u32) -> usize {
    put(file, u32::try_from(shape.len()).unwrap());
    put(file, u32::try_from(name.len()).unwrap());
    put(file, kind);
    shape.iter().for_each(|length| put(file, *length));
    file.write_all(name.as_bytes()).unwrap();
    let from = file.len();
    file.resize(from + (bytes * shape.iter().product::<u32>()) as usize, 0);
    from
}

fn put(file: &mut Vec<u8>, number: u32) {
    file.extend_from_slice(&number.to_le_bytes());
}

/// Of the English networks, whose special tokens have fixed numbers.
const VOCAB: u32 = 51_864;
const EOT: u32 = 50_256;
const AUDIO_CONTEXT: u32 = 1500;
const TEXT_CONTEXT: u32 = 448;
const MELS: u32 = 80;
const STATE: u32 = 8;
const HEARD: u32 = 1000;
/// Where it is in OpenAI's vocabulary.
const BLANK: u32 = 220;
const WORD_AXIS: u32 = 0;
const END_AXIS: u32 = 1;
