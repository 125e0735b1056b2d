"""What the side-by-side scripts share: a virtual environment with pinned runtimes, and the line to our own bench server."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINNED = ["numpy==2.4.6", "onnx==1.20.1", "onnxruntime==1.32.0", "ai-edge-litert==2.3.0", "flatbuffers==25.12.19"]
version = importlib.metadata.version


def enter_environment():
    """Goes on inside target/peers, made and filled on the first call."""
    home = ROOT / "target/peers"
    python = home / "bin/python"
    if Path(sys.prefix) == home:
        return
    stamp = home / "pinned"
    if not stamp.is_file() or stamp.read_text() != "\n".join(PINNED):
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINNED], check=True)
        stamp.write_text("\n".join(PINNED))
    os.execv(python, [python, *sys.argv])


def build_server(features, bench="step_server"):
    """Path of an optimised bench server."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", bench, "--message-format=json"]
    command += ["--features", features] if features else []
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    made = [json.loads(line) for line in lines if line.startswith("{")]
    return next(m["executable"] for m in made if m.get("executable") and m["target"]["name"] == bench)


# ONNX Runtime 1.32.0's one test of the CPUID bit for AVX-512 in MLAS, and the same test of no bit at all. It has no option that
# limits the instruction set of its int8 kernels.
AVX512_TEST = bytes.fromhex("41f7c200000100740e4c89c048f7d0a8e0")
NO_TEST = bytes.fromhex("41f7c200000000740e4c89c048f7d0a8e0")


def onnxruntime_without_avx512():
    """Folder of a local copy of ONNX Runtime whose MLAS sees no AVX-512, and so takes its AVX2 kernels; None where the pinned
    wheel is another build, as on aarch64."""
    installed = Path(importlib.metadata.distribution("onnxruntime").locate_file("onnxruntime"))
    copy = ROOT / "target/peers-avx2"
    library = next(installed.glob("capi/onnxruntime_pybind11_state*.so"))
    code = library.read_bytes()
    if code.count(AVX512_TEST) != 1:
        return None
    if not copy.is_dir():
        shutil.copytree(installed, copy / "onnxruntime")
        (copy / library.relative_to(installed.parent)).write_bytes(code.replace(AVX512_TEST, NO_TEST))
    return copy


class Server:
    """Our engines in a process of their own: one line asked, one line answered."""

    def __init__(self, bundle, features=""):
        # A program built elsewhere, for a machine without a Rust toolchain.
        program = os.environ.get("VAERR_STEP_SERVER") or build_server(features)
        environment = dict(os.environ)
        library = ROOT / "target/fetched-by-.ci-tflite"
        here = "arm64" if os.uname().machine == "aarch64" else "amd64"
        environment["LD_LIBRARY_PATH"] = f"{library / here}:{environment.get('LD_LIBRARY_PATH', '')}"
        self.start([program, "serve", str(bundle)], environment)

    def start(self, command, environment):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def ask(self, line):
        """Sends a command; gives the words of the answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != "ok":
            raise RuntimeError(f"{line}: {' '.join(answer) or 'the server went away'}")
        return answer[1:]


class Peer(Server):
    """A script of ours as the server, with other packages before the usual ones."""

    def __init__(self, script, packages, *arguments):
        self.start([sys.executable, str(script), *map(str, arguments)], {**os.environ, "PYTHONPATH": str(packages)})
