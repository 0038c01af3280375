//! The beginning of a file of weights in whisper.cpp's format (`ggml`): a mark and eleven numbers. The C++ code believes them,
//! and ends the process over some that are wrong; so they are looked at before it sees the file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Whether the file can be what it claims to be.
///
/// # Errors
/// Says which number is wrong, what it is and what was expected.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let mut bytes = [0; LENGTH];
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    file.read_exact(&mut bytes).map_err(|_| format!("shorter than the {LENGTH} bytes of a header"))?;
    read(&bytes)
}

fn read(bytes: &[u8; LENGTH]) -> Result<(), String> {
    let (words, _) = bytes.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    let mark = words.next().unwrap_or_default();
    if mark != MARK {
        return Err(format!("begins with {mark:#010x}, not with whisper.cpp's {MARK:#010x}"));
    }
    for ((name, least, most), found) in NUMBERS.into_iter().zip(words) {
        if !(least..=most).contains(&found) {
            return Err(format!("{name} is {found}, expected {least} to {most}"));
        }
    }
    Ok(())
}

const MARK: u32 = 0x6767_6d6c;
const LENGTH: usize = 4 * (1 + NUMBERS.len());

/// In the order of the file, with bounds that the largest published network keeps well within.
const NUMBERS: [(&str, u32, u32); 11] = [
    ("n_vocab", 1, 100_000),
    ("n_audio_ctx", 1, 1500),
    ("n_audio_state", 1, 4096),
    ("n_audio_head", 1, 64),
    ("n_audio_layer", 1, 64),
    ("n_text_ctx", 1, 448),
    ("n_text_state", 1, 4096),
    ("n_text_head", 1, 64),
    ("n_text_layer", 1, 64),
    ("n_mels", 1, 128),
    // With the version of the quantisation in thousands.
    ("ftype", 0, 3000),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn header(changes: &[(usize, u32)]) -> [u8; LENGTH] {
        let mut words = [MARK, 51_864, 1500, 512, 8, 6, 448, 512, 8, 6, 80, 1];
        for (at, value) in changes {
            words[*at] = *value;
        }
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.try_into().unwrap()
    }

    #[test]
    fn what_the_published_files_begin_with_is_taken() {
        assert_eq!(read(&header(&[])), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (at, value, told) in [
            (0, 0x4655_4747, "begins with 0x46554747"),
            (1, 0, "n_vocab is 0, expected 1 to 100000"),
            (3, 1 << 30, "n_audio_state is 1073741824"),
            (9, 65, "n_text_layer is 65"),
            (11, u32::MAX, "ftype is 4294967295"),
        ] {
            let error = read(&header(&[(at, value)])).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
