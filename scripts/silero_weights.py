"""The weights of the 8 kHz speech network and what the network says about known audio, from the package's own ONNX file.

Called by scripts/silero-weights with the wheel; see there.
"""

import hashlib
import pathlib
import sys
import wave
import zipfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

WEIGHTS = pathlib.Path("media/weights/silero-vad-8k.f32")
LICENCE = pathlib.Path("media/weights/LICENSE-silero-vad")
EXPECTED = pathlib.Path("media/tests/silero/probabilities.txt")
RECORDINGS = pathlib.Path("fixtures/audio/human")
WINDOW, CONTEXT = 256, 32
LAYERS = (
    ["stft.forward_basis_buffer"]
    + [f"encoder.{n}.reparam_conv.{part}" for n in range(4) for part in ("weight", "bias")]
    + [f"decoder.rnn.{part}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    + ["decoder.decoder.2.weight", "decoder.decoder.2.bias"]
)


def weights(model):
    """The constants of the branch that is taken when the rate is not 16 kHz, in the order of LAYERS."""
    [choice] = [node for node in model.graph.node if node.op_type == "If"]
    [branch] = [attribute.g for attribute in choice.attribute if attribute.name == "else_branch"]
    found = {
        node.output[0].split("__")[-1]: numpy_helper.to_array(node.attribute[0].t)
        for node in branch.node
        if node.op_type == "Constant" and node.attribute[0].t.data_type
    }
    return b"".join(found[name].astype("<f4").tobytes() for name in LAYERS)


def noise(seed, amplitude, length):
    """The same noise as in media/tests/silero.rs: the high 16 bits of a linear congruence."""
    state, out = seed, []
    for _ in range(length):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(((state >> 16) - 32768) * amplitude // 32768)
    return np.array(out, dtype=np.int16)


def inputs():
    for path in sorted(RECORDINGS.glob("*.wav")):
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2), path
            yield path.stem, np.frombuffer(file.readframes(file.getnframes()), "<i2")
    for seed, amplitude in ((1, 30), (2, 1000), (3, 32767)):
        yield f"noise-{seed}-{amplitude}", noise(seed, amplitude, 60 * WINDOW)
    yield "silence", np.zeros(20 * WINDOW, np.int16)
    yield "square", np.where(np.arange(30 * WINDOW) // 20 % 2, 32767, -32768).astype(np.int16)


def probabilities(session, samples):
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    for start in range(0, len(samples) - WINDOW + 1, WINDOW):
        window = samples[None, start : start + WINDOW].astype(np.float32) / 32768
        heard = np.concatenate([context, window], 1)
        given = {"input": heard, "state": state, "sr": np.array(8000, np.int64)}
        probability, state = session.run(None, given)
        context = window[:, -CONTEXT:]
        yield float(probability[0, 0])


def main():
    wheel, write = zipfile.ZipFile(sys.argv[1]), sys.argv[2:] == ["--write"]
    if sys.argv[2:] and not write:
        sys.exit(f"usage: scripts/silero-weights [--write], not {sys.argv[2:]}")
    file = wheel.read("silero_vad/data/silero_vad.onnx")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    made = {
        WEIGHTS: weights(onnx.load_from_string(file)),
        LICENCE: wheel.read("silero_vad-6.2.3.dist-info/licenses/LICENSE").rstrip() + b"\n",
    }
    lines = [f"{name} " + " ".join(f"{p:.6f}" for p in probabilities(session, x)) for name, x in inputs()]
    text = "\n".join(lines) + "\n"
    if write:
        EXPECTED.write_text(text)
        for path, octets in made.items():
            path.write_bytes(octets)
    different = [str(path) for path, octets in made.items() if path.read_bytes() != octets]
    pairs = list(zip(EXPECTED.read_text().split(), text.split(), strict=True))
    # Other processors round otherwise; the tests allow ten times as much.
    if any(a != b and abs(float(a) - float(b)) > 1e-5 for a, b in pairs if a[0] in "01" or a != b):
        different.append(str(EXPECTED))
    print(f"{WEIGHTS}: {len(made[WEIGHTS])} octets, SHA-256 {hashlib.sha256(made[WEIGHTS]).hexdigest()}")
    print(f"{EXPECTED}: {len(pairs) - len(lines)} probabilities of {len(lines)} recordings")
    if different:
        sys.exit("differs from the package: " + ", ".join(different))
    print("the same as in the package")


main()
