#!/usr/bin/env python3
"""Runs every exported form of a student in ONNX Runtime and LiteRT, and holds it against the reference engine.

Each runtime steps the whole graph through one stream with its own state carried from step to step. In fp32 only the order of sums
differs. In int8 a runtime that rounds one value the other way moves that layer by one unit, which later layers spread, so the
claim is about the decoded arousal and valence. Each form is written by the one program from the one student; the packed form is
our own and comes back through the reader.

    tests/outside/export.py [--steps 40] [--bundle models/vaerr-nano] [--student FILE ...]
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches"))
import peers  # noqa: E402  (it may start this script again inside its virtual environment)

peers.enter_environment()

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from pictures import rings  # noqa: E402

LOGITS = 42
VALUES = [20, 41]  # logits of arousal and valence

# Largest difference of a logit or state value in fp32, and of a decoded value in int8.
FP32, INT8 = 1e-4, 5e-3


def onnx_runtime(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def step(ring, state):
        logits, state = session.run(["logits", "hidden_out"], {"ring": ring[None], "hidden": state.reshape(1, 1, -1)})
        return logits.ravel(), state.ravel()

    return step


def litert(file):
    net = Interpreter(model_content=Path(file).read_bytes(), num_threads=1)
    net.allocate_tensors()
    sources = {d["name"]: d["index"] for d in net.get_input_details()}
    sinks = {int(np.prod(d["shape"])) == LOGITS: d["index"] for d in net.get_output_details()}

    def step(ring, state):
        last = np.ascontiguousarray(ring.transpose(1, 2, 0) ^ 0x80).view(np.int8)[None]
        net.set_tensor(sources["ring"], last)
        net.set_tensor(sources["hidden"], state[None])
        net.invoke()
        return net.get_tensor(sinks[True]).ravel(), net.get_tensor(sinks[False]).ravel()

    return step


def compare(name, step, given, wanted):
    """Prints how far a runtime is from the reference over the stream; gives (largest raw, largest decoded) difference."""
    state = np.zeros(wanted.shape[1] - LOGITS, np.float32)
    raw = decoded = 0.0
    for ring, want in zip(given, wanted):
        logits, state = step(ring, state)
        found = np.concatenate([logits, state])
        raw = max(raw, float(np.abs(found - want).max()))
        values = [np.tanh(v[VALUES] / 2) for v in (logits, want[:LOGITS])]
        decoded = max(decoded, float(np.abs(values[0] - values[1]).max()))
    print(f"{name:44} logits and state {raw:.2e}, arousal and valence {decoded:.2e}")
    return raw, decoded


def judge(server, source, folder, steps):
    """All forms of one student; gives whether every claim holds."""
    precision, *shape = server.ask(f"student {source}")
    channels, size, hidden = map(int, shape)
    given = rings(11, steps, channels, size)
    given.tofile(f"{folder}/rings")
    server.ask(f"stream {folder}/rings {folder}/wanted")
    wanted = np.fromfile(f"{folder}/wanted", np.float32).reshape(steps, LOGITS + hidden)
    forms = [("onnx", onnx_runtime, onnxruntime.__version__), ("tflite", litert, peers.version("ai-edge-litert"))]
    if precision == "int8":
        forms.insert(1, ("onnx-qlinear", onnx_runtime, onnxruntime.__version__))
    held = True
    for form, open_file, version in forms:
        file = f"{folder}/student.{form}"
        size_bytes = int(server.ask(f"write {form} {file}")[0])
        runtime = "LiteRT" if open_file is litert else "ONNX Runtime"
        name = f"{Path(source).name} {precision} {form} {size_bytes} B, {runtime} {version}"
        raw, decoded = compare(name, open_file(file), given, wanted)
        held &= raw <= FP32 if precision == "fp32" else decoded <= INT8
    server.ask(f"write packed {folder}/student.packed")
    server.ask(f"student {folder}/student.packed")
    server.ask(f"stream {folder}/rings {folder}/again")
    same = Path(f"{folder}/again").read_bytes() == Path(f"{folder}/wanted").read_bytes()
    print(f"{Path(source).name} {precision} packed, read back: {'the same to the bit' if same else 'DIFFERS'}")
    return held and same


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--bundle", type=Path, default=ROOT / "models/vaerr-nano")
    arguments.add_argument("--student", type=Path, action="append", default=[], help="another student's file, in any form")
    arguments = arguments.parse_args()
    server = peers.Server(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder:
        students = ["fp32", "int8", *(s.resolve() for s in arguments.student)]
        held = [judge(server, s, folder, arguments.steps) for s in students]
    print("all hold" if all(held) else "a claim does not hold")
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
