//! What the callers send: quiet line noise with recorded human speech every few seconds, as mu-law octets.

use std::path::Path;

use offhook::sim::audio::{FRAME, Recording, ulaw, white_noise};
use offhook::sim::clock::Dice;

/// A loop of caller audio; each call begins at a place of its own.
pub struct Script {
    pub octets: Vec<u8>,
    /// Share of the loop that is speech, from its labelled onset to its end.
    pub duty: f64,
    pub recordings: usize,
}

impl Script {
    /// The frame at `position`, counted in frames and going round.
    pub fn frame(&self, position: usize) -> &[u8] {
        let frames = self.octets.len() / FRAME;
        let at = position % frames * FRAME;
        self.octets.get(at..at + FRAME).unwrap_or_default()
    }

    /// Frames in the loop.
    pub fn frames(&self) -> usize {
        self.octets.len() / FRAME
    }
}

/// All recordings of `fixtures/audio/human`, each at the same active level after a pause of line noise.
pub fn script() -> Result<Script, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
        .collect();
    paths.sort();
    let mut dice = Dice::new(SEED, 0, 0);
    let (mut line, mut spoken) = (Vec::new(), 0);
    for path in &paths {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let recording = Recording::from_wav(&name, &bytes)?.at_level(SPEECH_DBFS);
        spoken += recording.end - recording.onset;
        line.extend(std::iter::repeat_n(0, PAUSE));
        line.extend_from_slice(&recording.samples);
    }
    line.resize(line.len().next_multiple_of(FRAME), 0);
    let noise = white_noise(line.len(), NOISE_DBFS, &mut dice);
    let octets = line.iter().zip(&noise).map(|(&a, &b): (&i16, &i16)| ulaw(a.saturating_add(b))).collect();
    Ok(Script { octets, duty: spoken as f64 / line.len() as f64, recordings: paths.len() })
}

/// Customary level of speech on telephone lines.
pub const SPEECH_DBFS: f64 = -26.0;
/// Above the detector's absolute threshold, so that only its noise floor keeps it asleep.
pub const NOISE_DBFS: f64 = -57.0;
/// 4 s.
pub const PAUSE: usize = 200 * FRAME;
const SEED: u64 = 1000;
