//! The network's weights as octets: checked against the digest that is written here, then taken apart by layer.
//!
//! Where they come from, under which licence, and in which order they stand: `media/weights/README.md`.

use sha2::{Digest, Sha256};

/// `media/weights/silero-vad-8k.f32`.
pub(super) const COMPILED_IN: &[u8] = include_bytes!("../../weights/silero-vad-8k.f32");

/// Why weights are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// Too short or too long.
    #[error("weights of the speech network: {found} octets, not {expected}")]
    Length {
        /// Octets that there must be.
        expected: usize,
        /// Octets that there are.
        found: usize,
    },
    /// Of the right length, but not the weights that the code was measured with.
    #[error("weights of the speech network: SHA-256 begins with {found:08x}, not {expected:08x}")]
    Digest {
        /// The first four octets of the digest that there must be.
        expected: u32,
        /// The first four octets of the digest found.
        found: u32,
    },
}

/// The layers in the order in which they stand in the file.
pub(super) struct Weights {
    /// 65 cosines and 65 sines under a window, each of 128 samples. It is computed by a Fourier transform.
    pub(super) basis: Vec<f32>,
    pub(super) encoder: [Convolution; 4],
    pub(super) input: Vec<f32>,
    pub(super) recurrent: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) output: Vec<f32>,
    pub(super) output_bias: f32,
}

/// Three taps in time, weights by output, input and tap.
pub(super) struct Convolution {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
}

pub(super) fn read(octets: &[u8]) -> Result<Weights, WeightsError> {
    if octets.len() != LENGTH {
        return Err(WeightsError::Length { expected: LENGTH, found: octets.len() });
    }
    let digest: [u8; 32] = Sha256::digest(octets).into();
    if digest != DIGEST {
        let first = |digest: [u8; 32]| u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        return Err(WeightsError::Digest { expected: first(DIGEST), found: first(digest) });
    }
    let mut all = octets.as_chunks::<4>().0.iter().map(|octets| f32::from_le_bytes(*octets));
    let mut take = |count: usize| -> Vec<f32> { all.by_ref().take(count).collect() };
    let basis = take(130 * 128);
    let encoder = CHANNELS.map(|[inputs, outputs]| Convolution {
        weights: take(outputs * inputs * 3),
        bias: take(outputs),
        inputs,
    });
    let (input, recurrent) = (take(4 * 128 * 128), take(4 * 128 * 128));
    let bias = take(4 * 128).iter().zip(take(4 * 128)).map(|(a, b)| a + b).collect();
    let (output, output_bias) = (take(128), take(1).iter().sum());
    Ok(Weights { basis, encoder, input, recurrent, bias, output, output_bias })
}

/// Inputs and outputs of the convolutions.
const CHANNELS: [[usize; 2]; 4] = [[65, 128], [128, 64], [64, 64], [64, 128]];
const LENGTH: usize = 942_596;
const DIGEST: [u8; 32] = [
    0x5a, 0xed, 0xdb, 0x26, 0xba, 0xaf, 0xaa, 0xc8, 0xeb, 0xbc, 0x0e, 0xd4, 0xe9, 0x4a, 0x6d, 0xb8, 0x51, 0xd0, 0x66,
    0x1b, 0xef, 0x44, 0xdf, 0x92, 0x32, 0xe2, 0x6b, 0xa7, 0xa7, 0xa1, 0xc1, 0x3f,
];
