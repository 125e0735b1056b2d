#!/usr/bin/env python3
"""Times one step of the int8 student in our engines, ONNX Runtime and LiteRT (XNNPACK), side by side in one run.

Every contestant steps the same exported model in rounds A B C A B C, on one thread, batch 1, inputs already in place for the other
runtimes (their copies in and out, and the turn to channels last, are not counted; ours are). A round gives the CPU time a step and
the wall time of each step; a ratio is formed within a round, so that what slows the machine slows both sides of it. On a busy
machine read the CPU time and the ratio of wall medians; the wall's upper percentiles are then the other programs'.

    benches/against.py [--rounds 40] [--steps 50] [--features tflite,tract] [--bundle models/vaerr-nano] [--json FILE]

Where the pinned ONNX Runtime for x86-64 is installed, a local copy of it that sees no AVX-512 runs too, beside our AVX2 kernels.

The whole frame (detector, tracker, crop, step, filter on a rendered face at 640x480) and batches exist in our engines alone.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import peers  # noqa: E402  (it may start this script again inside its virtual environment)

peers.enter_environment()

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

BATCHES = [1, 2, 4, 8, 16, 32, 64]


def timed(call, count):
    """CPU nanoseconds of `count` calls together, then the wall nanoseconds of each."""
    each = np.empty(count, np.int64)
    start = time.process_time_ns()
    for i in range(count):
        begin = time.perf_counter_ns()
        call()
        each[i] = time.perf_counter_ns() - begin
    return time.process_time_ns() - start, each


def onnx_runtime(bundle):
    """Bound inputs and outputs, so that a run copies nothing and makes no Python object."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    file = str(bundle / "student-int8.onnx")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    keep = []
    for source in session.get_inputs():
        kind = np.uint8 if "uint8" in source.type else np.float32
        count = int(np.prod(source.shape))
        values = (np.arange(count) * 31 % 251).astype(kind) if kind == np.uint8 else np.zeros(count, kind)
        keep.append(onnxruntime.OrtValue.ortvalue_from_numpy(values.reshape(source.shape), "cpu", 0))
        binding.bind_ortvalue_input(source.name, keep[-1])
    for sink in session.get_outputs():
        keep.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type(sink.shape, np.float32, "cpu", 0))
        binding.bind_ortvalue_output(sink.name, keep[-1])
    return lambda count: timed(lambda: session.run_with_iobinding(binding), count)


def serve_onnx_runtime(bundle):
    """Answers `step N` on standard input as the bench server does, for a copy of ONNX Runtime in a process of its own."""
    run = onnx_runtime(bundle)
    for line in sys.stdin:
        cpu, each = run(int(line.split()[-1]))
        print("ok", cpu, *each, flush=True)


def litert(server):
    with tempfile.TemporaryDirectory() as folder:
        server.ask(f"tflite {folder}/student.tflite")
        net = Interpreter(model_content=Path(f"{folder}/student.tflite").read_bytes(), num_threads=1)
    net.allocate_tensors()
    for source in net.get_input_details():
        count = int(np.prod(source["shape"]))
        values = (np.arange(count) * 31 % 251 - 125).astype(source["dtype"]) * (source["name"] == "ring")
        net.set_tensor(source["index"], values.reshape(source["shape"]).astype(source["dtype"]))
    return lambda count: timed(net.invoke, count)


def ours(server, command):
    def run(count):
        cpu, *each = map(int, server.ask(f"{command} {count}"))
        return cpu, np.array(each)

    return run


class Record:
    """What one contestant took: CPU nanoseconds a call by round, and wall nanoseconds of every call."""

    def __init__(self, run):
        self.run, self.cpu, self.wall = run, [], []

    def round(self, count):
        cpu, each = self.run(count)
        self.cpu.append(cpu / count)
        self.wall.append(each)


def race(contestants, rounds, steps):
    records = {name: Record(run) for name, run in contestants.items()}
    for record in records.values():
        record.run(max(steps // 5, 2))  # warm, not counted
    for i in range(rounds):
        order = list(records.values())
        for record in order[i % len(order) :] + order[: i % len(order)]:
            record.round(steps)
    return records


def quartiles(values):
    return [float(v) for v in np.percentile(values, [25, 50, 75])]


def ratios(record, base):
    """Quartiles over the rounds of the ratio of CPU times, and of the ratio of wall medians."""
    medians = [np.array([np.median(each) for each in r.wall]) for r in (record, base)]
    return quartiles(np.array(record.cpu) / np.array(base.cpu)), quartiles(medians[0] / medians[1])


def shown(quartiles_of_ratio):
    low, middle, high = quartiles_of_ratio
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def sum_up(records, pairs):
    """Ours over theirs: CPU time, then wall medians."""
    print()
    for own, peer in pairs:
        if own in records and peer in records:
            cpu, wall = ratios(records[own], records[peer])
            print(f"{own} / {peer}: {shown(cpu)} of the CPU time, {shown(wall)} of the wall median")


def table(title, records, base):
    """One row a contestant; ratios to `base`, round by round."""
    print(f"\n{title}\n")
    print("| contestant | CPU us, median (quartiles) | ratio to " + base + " | of wall medians | wall p50 | p95 | p99 | p99.9 us |")
    print("|---|---|---|---|---|---|---|---|")
    rows = {}
    for name, record in records.items():
        low, middle, high = (v / 1e3 for v in quartiles(record.cpu))
        ratio, of_medians = ratios(record, records[base])
        wall = [float(v) / 1e3 for v in np.percentile(np.concatenate(record.wall), [50, 95, 99, 99.9])]
        cells = f"{middle:.1f} ({low:.1f}-{high:.1f}) | {shown(ratio)} | {shown(of_medians)}"
        print(f"| {name} | {cells} | " + " | ".join(f"{w:.1f}" for w in wall) + " |")
        rows[name] = {"cpu_us": [low, middle, high], "ratio": ratio, "ratio_of_wall_medians": of_medians, "wall_us_p50_p95_p99_p999": wall}
    return rows


def batches(server, names, rounds, steps):
    print("\nCPU microseconds a stream, by batch size\n")
    print("| engine | " + " | ".join(map(str, BATCHES)) + " |\n" + "|---" * (len(BATCHES) + 1) + "|")
    rows = {}
    for name in names:
        count = [max(steps // n, 2) for n in BATCHES]
        runs = [ours(server, f"step {name} {n}") for n in BATCHES]
        took = [[run(c)[0] / c / n / 1e3 for run, c, n in zip(runs, count, BATCHES)] for _ in range(max(rounds // 4, 3))]
        rows[name] = np.median(took, axis=0).tolist()
        print(f"| {name} | " + " | ".join(f"{v:.1f}" for v in rows[name]) + " |")
    return rows


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start"


def main():
    if sys.argv[1:2] == ["serve-onnx"]:
        return serve_onnx_runtime(Path(sys.argv[2]))
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=40)
    arguments.add_argument("--steps", type=int, default=50)
    arguments.add_argument("--features", default="", help="of our build, e.g. tflite,tract")
    arguments.add_argument("--bundle", type=Path, default=peers.ROOT / "models/vaerr-nano")
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    arguments = arguments.parse_args()
    server = peers.Server(arguments.bundle, arguments.features)
    keys = server.ask("engines")
    base, slow = keys[0], [k for k in keys if k in ("reference", "tract")]
    quick = [k for k in keys if k not in slow]
    print(f"{machine()}; one thread, {arguments.rounds} rounds of {arguments.steps} steps")
    versions = f"ONNX Runtime {onnxruntime.__version__}", f"LiteRT {peers.version('ai-edge-litert')} XNNPACK"
    field = {k: ours(server, f"step {k} 1") for k in quick}
    field |= {versions[0]: onnx_runtime(arguments.bundle), versions[1]: litert(server)}
    if capped := peers.onnxruntime_without_avx512():
        field[f"{versions[0]} on AVX2"] = ours(peers.Peer(__file__, capped, "serve-onnx", arguments.bundle), "step")
    result = {"machine": machine(), "versions": versions}
    steps = race(field, arguments.rounds, arguments.steps)
    result["step"] = table("Student step, int8", steps, base)
    sum_up(steps, [(base, versions[1]), (base, versions[0]), ("simd:avx2", f"{versions[0]} on AVX2")])
    few = max(arguments.rounds // 8, 3), max(arguments.steps // 10, 3)
    slow_field = {k: ours(server, f"step {k} 1") for k in [base, *slow]}
    result["slow"] = table("Student step of the slow engines, int8", race(slow_field, *few), base)
    frames = {k: ours(server, f"frame {k}") for k in keys}
    result["frame"] = table("Whole frame, 640x480", race(frames, *few), base)
    result["batch"] = batches(server, quick, arguments.rounds, arguments.steps)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
