#!/usr/bin/env python3
"""Holds our signatures against the public tool `model_signing` (PyPI model-signing), both ways.

The tool verifies what `vaerr-train sign` signed, and `vaerr models check` what the tool signed; each must also refuse a changed
bundle. Keys are made by `vaerr-train keygen` and by OpenSSL, in both formats that it writes.

    tests/outside/signing.py [--bundle models/vaerr-nano] [--programs target/debug] [--venv FOLDER]

The programs must be built: cargo build --features train --bins. The tool is installed into the virtual environment FOLDER, or into one
that is thrown away.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# pyOpenSSL: model-signing 1.1.1 imports it and does not ask for it.
PACKAGES = ["model-signing==1.1.1", "pyOpenSSL"]
failures = []


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def must(*words):
    code, said = run(*words)
    if code:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{said}")
    return said


def expect(what, holds, said):
    print(f"{'ok' if holds else 'FAILED':<7} {what}")
    if not holds:
        failures.append(what)
        print(said)


def public_tool(folder):
    """Path of the tool, installed if need be."""
    tool = folder / "bin/model_signing"
    if not tool.exists():
        venv.create(folder, with_pip=True)
        must(folder / "bin/pip", "install", "--quiet", *PACKAGES)
    return tool


def keys(work, programs):
    """Name -> private and public key file."""
    must(programs / "vaerr-train", "keygen", work / "ours")
    must("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", work / "sec1")
    must("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", work / "sec1", "-out", work / "pkcs8")
    must("openssl", "pkey", "-in", work / "sec1", "-pubout", "-out", work / "sec1.pub")
    return {
        "keygen's key": (work / "ours", work / "ours.pub"),
        "OpenSSL's SEC1 key": (work / "sec1", work / "sec1.pub"),
        "OpenSSL's PKCS#8 key": (work / "pkcs8", work / "sec1.pub"),
    }


class Case:
    """One key and a fresh copy of the bundle."""

    def __init__(self, work, programs, tool, bundle, key):
        self.programs, self.tool, (self.private, self.public) = programs, tool, key
        self.bundle = Path(tempfile.mkdtemp(dir=work)) / bundle.name
        shutil.copytree(bundle, self.bundle, ignore=shutil.ignore_patterns("model.sig"))
        self.signature = self.bundle / "model.sig"
        self.trust = self.bundle.parent / "trust.toml"
        self.trust.write_text(f'format = 1\n[[key]]\nname = "signer"\npath = "{self.public}"\n')

    def sign_ours(self):
        must(self.programs / "vaerr-train", "sign", "--key", self.private, self.bundle)

    def sign_theirs(self):
        must(self.tool, "sign", "key", "--private_key", self.private, "--signature", self.signature, self.bundle)

    def ours(self):
        """The signature's line alone, since a bundle without a certificate fails on another."""
        _, said = run(self.programs / "vaerr", "models", "check", self.bundle, "--trust", self.trust)
        return verdict(said, "ok      signature: by the key", "FAILED  signature: "), said

    def theirs(self):
        _, said = run(self.tool, "verify", "key", "--public_key", self.public, "--signature", self.signature, self.bundle)
        return verdict(said, "Verification succeeded", "Verification failed"), said


def verdict(said, good, bad):
    """None if the judge said neither, as one that could not start does."""
    return {(True, False): "accepts", (False, True): "refuses"}.get((good in said, bad in said))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# Each leaves the manifest's own digests right, so that the signature alone can tell.
CHANGES = {
    "a changed manifest": lambda b: (b / "manifest.toml").open("a").write("\n# changed\n"),
    "a further file": lambda b: (b / "more.txt").write_text("more"),
    "a changed signature": lambda b: flip(b / "model.sig"),
}


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--bundle", type=Path, default=ROOT / "models/vaerr-nano")
    ask.add_argument("--programs", type=Path, default=ROOT / "target/debug")
    ask.add_argument("--venv", type=Path)
    args = ask.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        tool = public_tool((args.venv or work / "venv").absolute())
        for name, key in keys(work, args.programs).items():
            for signer in ("ours", "theirs"):
                new = lambda: Case(work, args.programs, tool, args.bundle.absolute(), key)
                case = new()
                getattr(case, f"sign_{signer}")()
                for judge in ("ours", "theirs"):
                    found, said = getattr(case, judge)()
                    expect(f"{name}: {judge} accepts what {signer} signed", found == "accepts", said)
                for change, apply in CHANGES.items():
                    case = new()
                    getattr(case, f"sign_{signer}")()
                    apply(case.bundle)
                    for judge in ("ours", "theirs"):
                        found, said = getattr(case, judge)()
                        expect(f"{name}: {judge} refuses {change} that {signer} signed", found == "refuses", said)
    if failures:
        sys.exit(f"{len(failures)} failed")


if __name__ == "__main__":
    main()
