//! WAV files in (PCM 8 and 16 bit, G.711, mono or stereo) as 8 kHz mono, and PCM 16 out.
//!
//! Prompts and recordings only: no compressed formats, no metadata. Lengths are never believed.

use crate::g711::G711;
use crate::resample::{Rate, Resampler, UnknownRate};

/// A file as 8 kHz mono audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// 8 kHz mono samples.
    pub samples: Vec<i16>,
    /// The rate of the file.
    pub rate: Rate,
    /// Channels of the file, 1 or 2; two are averaged.
    pub channels: u16,
}

/// Why a file is not taken. Offsets are octets from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// The file ends inside a field.
    #[error("{field} at offset {offset} needs {needed} octets, {found} are left")]
    Truncated { field: &'static str, offset: usize, needed: usize, found: usize },
    /// A fixed name is not there.
    #[error("expected {expected:?} at offset {offset}")]
    NotWav { expected: &'static str, offset: usize },
    /// Not a format that is read.
    #[error("format {format:#06x} with {bits} bits at offset {offset}, expected PCM of 8 or 16 bits, mu-law or A-law")]
    Format { format: u16, bits: u16, offset: usize },
    /// Neither mono nor stereo.
    #[error("{channels} channels at offset {offset}, expected 1 or 2")]
    Channels { channels: u16, offset: usize },
    /// A sample rate without a converter.
    #[error("at offset {offset}: {source}")]
    Rate { offset: usize, source: UnknownRate },
    /// The data is no whole number of samples.
    #[error("data of {length} octets at offset {offset} is no multiple of {block}")]
    Ragged { offset: usize, length: usize, block: usize },
    /// No format or no data.
    #[error("no {chunk:?} chunk before the end at offset {offset}")]
    Missing { chunk: &'static str, offset: usize },
    /// Longer than [`MOST_SAMPLES`].
    #[error("{samples} samples, at most {MOST_SAMPLES} are read")]
    TooLong { samples: usize },
    /// More samples to write than the format can count.
    #[error("{samples} samples do not fit a WAV file")]
    TooLongToWrite { samples: usize },
}

/// The most samples that are read from a file, of each channel: one hour at 8 kHz.
pub const MOST_SAMPLES: usize = 3600 * 8000;

impl Wav {
    /// Reads a file. A data length of 0xFFFFFFFF, as streaming writers leave it, means "to the end".
    ///
    /// # Errors
    /// [`WavError`] names the field and its offset.
    pub fn parse(file: &[u8]) -> Result<Self, WavError> {
        let mut reader = Reader { file, offset: 0 };
        reader.name("RIFF")?;
        reader.take("RIFF length", 4)?;
        reader.name("WAVE")?;
        let mut format = None;
        loop {
            if reader.is_at_end() {
                let chunk = if format.is_none() { "fmt " } else { "data" };
                return Err(WavError::Missing { chunk, offset: reader.offset });
            }
            let id: [u8; 4] = reader.array("chunk name")?;
            let length = u32::from_le_bytes(reader.array("chunk length")?);
            match &id {
                b"fmt " => format = Some(Format::read(&mut reader, length)?),
                b"data" => {
                    let missing = WavError::Missing { chunk: "fmt ", offset: reader.offset };
                    return format.ok_or(missing)?.decode(&mut reader, length);
                }
                _ => reader.skip_chunk(length)?,
            }
        }
    }
}

/// A mono file of 16-bit samples.
///
/// # Errors
/// [`WavError::TooLongToWrite`] beyond 4 GB.
pub fn write_mono(rate: Rate, samples: &[i16]) -> Result<Vec<u8>, WavError> {
    write(rate, 1, samples.len(), samples.iter().copied())
}

/// A stereo file of 16-bit samples; the shorter side is padded with silence.
///
/// # Errors
/// [`WavError::TooLongToWrite`] beyond 4 GB.
pub fn write_stereo(rate: Rate, left: &[i16], right: &[i16]) -> Result<Vec<u8>, WavError> {
    let length = left.len().max(right.len());
    let at = |side: &[i16], index: usize| side.get(index).copied().unwrap_or(0);
    let interleaved = (0..length).flat_map(|index| [at(left, index), at(right, index)]);
    write(rate, 2, length * 2, interleaved)
}

/// The 44 octets before `data_octets` of 16-bit samples, for a writer that streams.
///
/// # Errors
/// [`WavError::TooLongToWrite`] beyond 4 GB.
pub fn header(rate: Rate, channels: u16, data_octets: usize) -> Result<[u8; 44], WavError> {
    let too_long = || WavError::TooLongToWrite { samples: data_octets / 2 };
    let data = u32::try_from(data_octets).map_err(|_| too_long())?;
    let riff = data.checked_add(36).ok_or_else(too_long)?;
    let block = channels.saturating_mul(2);
    let mut out = [0; 44];
    out[..4].copy_from_slice(b"RIFF");
    out[4..8].copy_from_slice(&riff.to_le_bytes());
    out[8..16].copy_from_slice(b"WAVEfmt ");
    out[16..20].copy_from_slice(&16u32.to_le_bytes());
    out[20..22].copy_from_slice(&PCM.to_le_bytes());
    out[22..24].copy_from_slice(&channels.to_le_bytes());
    out[24..28].copy_from_slice(&rate.hz().to_le_bytes());
    out[28..32].copy_from_slice(&(rate.hz() * u32::from(block)).to_le_bytes());
    out[32..34].copy_from_slice(&block.to_le_bytes());
    out[34..36].copy_from_slice(&16u16.to_le_bytes());
    out[36..40].copy_from_slice(b"data");
    out[40..44].copy_from_slice(&data.to_le_bytes());
    Ok(out)
}

fn write(rate: Rate, channels: u16, count: usize, samples: impl Iterator<Item = i16>) -> Result<Vec<u8>, WavError> {
    let octets = count.checked_mul(2).ok_or(WavError::TooLongToWrite { samples: count })?;
    let mut out = Vec::with_capacity(octets.saturating_add(44));
    out.extend_from_slice(&header(rate, channels, octets)?);
    samples.for_each(|sample| out.extend_from_slice(&sample.to_le_bytes()));
    Ok(out)
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    Pcm8,
    Pcm16,
    Companded(G711),
}

#[derive(Clone, Copy, Debug)]
struct Format {
    coding: Coding,
    channels: u16,
    rate: Rate,
}

impl Format {
    fn read(reader: &mut Reader<'_>, length: u32) -> Result<Self, WavError> {
        let (offset, chunk) = reader.chunk("fmt chunk", length)?;
        let mut body = Reader { file: chunk, offset: 0 };
        let within = |error| shift(error, offset);
        let mut format = u16::from_le_bytes(body.array("format").map_err(within)?);
        let channels = u16::from_le_bytes(body.array("channels").map_err(within)?);
        let hz = u32::from_le_bytes(body.array("sample rate").map_err(within)?);
        body.take("byte rate and block size", 6).map_err(within)?;
        let bits = u16::from_le_bytes(body.array("bits per sample").map_err(within)?);
        if format == EXTENSIBLE {
            body.take("extension", 8).map_err(within)?;
            format = u16::from_le_bytes(body.array("sub-format").map_err(within)?);
        }
        let coding = match (format, bits) {
            (PCM, 8) => Coding::Pcm8,
            (PCM, 16) => Coding::Pcm16,
            (ALAW, 8) => Coding::Companded(G711::Alaw),
            (ULAW, 8) => Coding::Companded(G711::Ulaw),
            _ => return Err(WavError::Format { format, bits, offset }),
        };
        if !(1..=2).contains(&channels) {
            return Err(WavError::Channels { channels, offset: offset + 2 });
        }
        let rate = Rate::from_hz(hz).map_err(|source| WavError::Rate { offset: offset + 4, source })?;
        Ok(Self { coding, channels, rate })
    }

    fn decode(self, reader: &mut Reader<'_>, length: u32) -> Result<Wav, WavError> {
        let left = reader.file.len() - reader.offset;
        let to_end = length == u32::MAX;
        let length = if to_end { u32::try_from(left).unwrap_or(u32::MAX - 1) } else { length };
        let (offset, data) = reader.chunk("data chunk", length)?;
        let block = self.octets() * usize::from(self.channels);
        let whole = data.len() / block;
        if data.len() % block != 0 && !to_end {
            return Err(WavError::Ragged { offset, length: data.len(), block });
        }
        if whole > MOST_SAMPLES {
            return Err(WavError::TooLong { samples: whole });
        }
        let mono: Vec<i16> = data.chunks_exact(block).map(|block| self.mix(block)).collect();
        Ok(Wav { samples: to_8_khz(self.rate, mono), rate: self.rate, channels: self.channels })
    }

    const fn octets(self) -> usize {
        match self.coding {
            Coding::Pcm16 => 2,
            Coding::Pcm8 | Coding::Companded(_) => 1,
        }
    }

    /// The mean of the channels in one block.
    fn mix(self, block: &[u8]) -> i16 {
        let sum: i32 = block.chunks_exact(self.octets()).map(|sample| i32::from(self.sample(sample))).sum();
        i16::try_from(sum / i32::from(self.channels)).unwrap_or(0)
    }

    fn sample(self, octets: &[u8]) -> i16 {
        match (self.coding, octets) {
            (Coding::Pcm16, &[low, high]) => i16::from_le_bytes([low, high]),
            (Coding::Pcm8, &[octet]) => (i16::from(octet) - 128) << 8,
            (Coding::Companded(law), &[octet]) => {
                let mut out = [0];
                law.decode(&[octet], &mut out);
                out[0]
            }
            _ => 0,
        }
    }
}

fn to_8_khz(rate: Rate, mono: Vec<i16>) -> Vec<i16> {
    if rate == Rate::Hz8000 {
        return mono;
    }
    let mut resampler = Resampler::new(rate, Rate::Hz8000);
    let mut out = Vec::with_capacity(resampler.most_output(mono.len() + resampler.delay()) + 1);
    let late = resampler.delay() * 8000 / rate.hz() as usize;
    resampler.push(&mono, &mut out);
    resampler.finish(&mut out);
    // The filter's delay comes off the front, so that the audio keeps its place in time.
    out.drain(..late.min(out.len()));
    out
}

fn shift(error: WavError, by: usize) -> WavError {
    match error {
        WavError::Truncated { field, offset, needed, found } => {
            WavError::Truncated { field, offset: offset + by, needed, found }
        }
        other => other,
    }
}

const PCM: u16 = 1;
const ALAW: u16 = 6;
const ULAW: u16 = 7;
const EXTENSIBLE: u16 = 0xFFFE;

struct Reader<'a> {
    file: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn is_at_end(&self) -> bool {
        self.offset >= self.file.len()
    }

    fn take(&mut self, field: &'static str, needed: usize) -> Result<&'a [u8], WavError> {
        let rest = self.file.get(self.offset..).unwrap_or(&[]);
        let short = WavError::Truncated { field, offset: self.offset, needed, found: rest.len() };
        let taken = rest.get(..needed).ok_or(short)?;
        self.offset += needed;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WavError> {
        let offset = self.offset;
        let taken = self.take(field, N)?;
        taken.try_into().map_err(|_| WavError::Truncated { field, offset, needed: N, found: taken.len() })
    }

    fn name(&mut self, expected: &'static str) -> Result<(), WavError> {
        let offset = self.offset;
        match self.take(expected, 4)? {
            found if found == expected.as_bytes() => Ok(()),
            _ => Err(WavError::NotWav { expected, offset }),
        }
    }

    /// Offset and body of a chunk; a padding octet after an odd length is skipped.
    fn chunk(&mut self, field: &'static str, length: u32) -> Result<(usize, &'a [u8]), WavError> {
        let offset = self.offset;
        let body = self.take(field, usize::try_from(length).unwrap_or(usize::MAX))?;
        self.offset += body.len() % 2;
        Ok((offset, body))
    }

    fn skip_chunk(&mut self, length: u32) -> Result<(), WavError> {
        self.chunk("chunk", length).map(|_| ())
    }
}
