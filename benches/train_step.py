#!/usr/bin/env python3
"""Races training steps of the full model (forward, backward, AdamW) against PyTorch's CPU: same network, batch and threads.

Both run in turn, round by round, each in a process of its own, whose peak memory is told too. Ratios are ours to PyTorch's of
the same round; below 1 we are quicker.

    benches/train_step.py [--rounds 7] [--steps 3] [--threads 1,2] [--json FILE]

Needs numpy and torch; the CPU build of torch will do.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import peers

sys.path.insert(0, str(peers.ROOT / "tests/outside"))

# Width, hidden, side in pixels, clips, frames.
CASES = {
    "quarter width": (16, 64, 48, 4, 16),
    "eighth width": (8, 32, 48, 4, 16),
    "the paper's": (64, 256, 96, 1, 8),
}


class Ours(peers.Server):
    def __init__(self, program, threads):
        self.start([program, "serve"], os.environ | {"RAYON_NUM_THREADS": str(threads)})


class Torch(peers.Server):
    def __init__(self, threads):
        self.start([sys.executable, __file__, "serve", str(threads)], os.environ | {"OMP_NUM_THREADS": str(threads)})


def serve(threads):
    """PyTorch behind the protocol of train_step.rs."""
    import torch
    from full_model import FullModel

    torch.set_num_threads(threads)
    for line in sys.stdin:
        command, *numbers = line.split()
        numbers = list(map(int, numbers))
        if command == "net":
            width, hidden, side, clips, frames = numbers
            net = FullModel(width, hidden).train()
            optimizer = torch.optim.AdamW(net.parameters(), 3e-4, weight_decay=1e-2)
            batch = torch.randn(clips, frames, side, side)
            answer = [torch.__version__]
        elif command == "step":
            answer = []
            for _ in range(numbers[0]):
                start = time.perf_counter_ns()
                optimizer.zero_grad(set_to_none=True)
                net(batch).square().mean().backward()
                optimizer.step()
                answer.append(time.perf_counter_ns() - start)
        else:
            answer = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]
        print("ok", *answer, flush=True)


def race(program, case, threads, rounds, steps):
    """Milliseconds a step of both, round by round, and the peaks of memory in MiB."""
    sides = [Ours(program, threads), Torch(threads)]
    for side in sides:
        side.ask("net " + " ".join(map(str, case)))
        side.ask("step 2")
    times = [[], []]
    for number in range(rounds):
        for at in (0, 1) if number % 2 == 0 else (1, 0):
            nanoseconds = map(int, sides[at].ask(f"step {steps}"))
            times[at].append(statistics.median(nanoseconds) / 1e6)
    peaks = [int(side.ask("peak")[0]) / 2**20 for side in sides]
    for side in sides:
        side.process.stdin.close()
        side.process.wait()
    return times, peaks


def main():
    if sys.argv[1:2] == ["serve"]:
        return serve(int(sys.argv[2]))
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--steps", type=int, default=3)
    arguments.add_argument("--threads", default="1,2")
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    arguments = arguments.parse_args()
    program = os.environ.get("VAERR_TRAIN_STEP") or peers.build_server("train", "train_step")
    result = []
    print("network         clips x frames x side  threads  ours ms  torch ms  ratio [quartiles]    steps/s  MiB  torch MiB")
    for name, case in CASES.items():
        for threads in map(int, arguments.threads.split(",")):
            (ours, theirs), peaks = race(program, case, threads, arguments.rounds, arguments.steps)
            low, ratio, high = statistics.quantiles([a / b for a, b in zip(ours, theirs)], n=4)
            mine, other = statistics.median(ours), statistics.median(theirs)
            shape = f"{case[3]} x {case[4]} x {case[2]}"
            row = f"{name:15} {shape:>22} {threads:8} {mine:8.1f} {other:9.1f}  {ratio:.2f} [{low:.2f} {high:.2f}]"
            print(f"{row} {1000 / mine:10.2f} {peaks[0]:4.0f} {peaks[1]:10.0f}", flush=True)
            result.append(dict(network=name, case=case, threads=threads, ours_ms=ours, torch_ms=theirs, peak_mib=peaks))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
