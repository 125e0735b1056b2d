#!/usr/bin/env python3
"""Holds the int8 student's convolutions, layer by layer, against ONNX Runtime and TensorFlow Lite.

Each runtime is fed the reference engine's own input of the layer, so that a difference is that layer's alone. Wanted: no
difference above 1 LSB, and fewer than one element in 100,000. TensorFlow Lite is asked twice, as LiteRT's package and, where
`.ci/tflite` has fetched it, as the library that the engine tflite links.

    tests/outside/layers.py [--rings 24] [--bundle models/vaerr-nano]
"""

import argparse
import copy
import ctypes
import platform
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches"))
import peers  # noqa: E402  (it may start this script again inside its virtual environment)

peers.enter_environment()

import flatbuffers  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from pictures import rings  # noqa: E402


def layer_names(model):
    """Names of the u8 tensors between the convolutions, the ring first."""
    return ["ring"] + [o for node in model.graph.node if node.op_type == "QuantizeLinear" for o in node.output]


def onnx_layer(model, at):
    """Convolution `at` alone: u8 NCHW to u8 NCHW."""
    names = layer_names(model)
    cut = onnx.utils.Extractor(model).extract_model([names[at]], [names[at + 1]])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {names[at]: x})[0]


def tflite_layer(file, at):
    """The bytes of a file that holds convolution `at` alone, with its padding."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    graph = model.subgraphs[0]
    code = lambda op: model.operatorCodes[op.opcodeIndex].builtinCode
    convs = [i for i, op in enumerate(graph.operators) if code(op) == schema.BuiltinOperator.CONV_2D]
    padded = convs[at] > 0 and code(graph.operators[convs[at] - 1]) == schema.BuiltinOperator.PAD
    kept = graph.operators[convs[at] - padded : convs[at] + 1]
    part = copy.copy(graph)
    part.operators, part.inputs, part.outputs = kept, [kept[0].inputs[0]], [kept[-1].outputs[0]]
    model.subgraphs = [part]
    builder = flatbuffers.Builder(len(file))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) ^ 0x80).view(np.int8)


def channels_first(y):
    return np.ascontiguousarray((y.view(np.uint8) ^ 0x80).transpose(0, 3, 1, 2))


def litert(file):
    net = Interpreter(model_content=file, num_threads=1)
    net.allocate_tensors()
    source, sink = net.get_input_details()[0]["index"], net.get_output_details()[0]["index"]

    def run(x):
        net.set_tensor(source, channels_last(x))
        net.invoke()
        return channels_first(net.get_tensor(sink))

    return run


class Options29(ctypes.Structure):
    _fields_ = [("num_threads", ctypes.c_int32), ("flags", ctypes.c_uint32)]


class Library29:
    """The C library of TensorFlow Lite 2.9 with XNNPACK's int8 operators on, as `engine/tflite` asks for them, or without."""

    def __init__(self, path, flags):
        self.flags = flags
        self.lib = ctypes.CDLL(str(path))
        pointer, status = ctypes.c_void_p, ctypes.c_int
        for name, result, arguments in [
            ("TfLiteModelCreate", pointer, [ctypes.c_char_p, ctypes.c_size_t]),
            ("TfLiteInterpreterOptionsCreate", pointer, []),
            ("TfLiteInterpreterOptionsSetNumThreads", None, [pointer, ctypes.c_int32]),
            ("TfLiteXNNPackDelegateCreate", pointer, [ctypes.POINTER(Options29)]),
            ("TfLiteInterpreterOptionsAddDelegate", None, [pointer, pointer]),
            ("TfLiteInterpreterCreate", pointer, [pointer, pointer]),
            ("TfLiteInterpreterAllocateTensors", status, [pointer]),
            ("TfLiteInterpreterInvoke", status, [pointer]),
            ("TfLiteInterpreterGetInputTensor", pointer, [pointer, ctypes.c_int32]),
            ("TfLiteInterpreterGetOutputTensor", pointer, [pointer, ctypes.c_int32]),
            ("TfLiteTensorCopyFromBuffer", status, [pointer, pointer, ctypes.c_size_t]),
            ("TfLiteTensorCopyToBuffer", status, [pointer, pointer, ctypes.c_size_t]),
            ("TfLiteTensorDim", ctypes.c_int32, [pointer, ctypes.c_int32]),
        ]:
            function = getattr(self.lib, name)
            function.restype, function.argtypes = result, arguments

    def load(self, file):
        """A runner of the file; its C objects live as long as the process."""
        c, keep = self.lib, file
        model = c.TfLiteModelCreate(keep, len(keep))
        options = c.TfLiteInterpreterOptionsCreate()
        c.TfLiteInterpreterOptionsSetNumThreads(options, 1)
        c.TfLiteInterpreterOptionsAddDelegate(options, c.TfLiteXNNPackDelegateCreate(Options29(1, self.flags)))
        net = c.TfLiteInterpreterCreate(model, options)
        if not net or c.TfLiteInterpreterAllocateTensors(net):
            raise RuntimeError("the library refuses the layer")
        source, sink = c.TfLiteInterpreterGetInputTensor(net, 0), c.TfLiteInterpreterGetOutputTensor(net, 0)
        shape = [c.TfLiteTensorDim(sink, i) for i in range(4)]

        def run(x, _keep=keep):
            data, found = channels_last(x), np.empty(shape, np.int8)
            failed = c.TfLiteTensorCopyFromBuffer(source, data.ctypes.data, data.nbytes)
            failed = failed or c.TfLiteInterpreterInvoke(net)
            if failed or c.TfLiteTensorCopyToBuffer(sink, found.ctypes.data, found.nbytes):
                raise RuntimeError("the library fails in a run")
            return channels_first(found)

        return run


def compare(name, layers, inputs, outputs):
    """Runs every layer on every ring; prints a row a layer; gives whether the claim holds."""
    different = above = total = 0
    for at, run in enumerate(layers):
        gaps = [np.abs(run(x[None])[0].astype(int) - y.astype(int)) for x, y in zip(inputs[at], outputs[at])]
        gaps = np.stack(gaps)
        print(f"{name:28} layer {at}: {gaps.size:9} outputs, {np.count_nonzero(gaps)} differ, largest {gaps.max()} LSB")
        different, above, total = different + np.count_nonzero(gaps), above + np.count_nonzero(gaps > 1), total + gaps.size
    held = above == 0 and different < total / 100_000 and total >= 1_000_000
    verdict = "holds" if held else "does not hold"
    print(f"{name:28} all    : {total:9} outputs, {different} differ ({different / total:.2e}), {above} by 2 LSB or more: {verdict}")
    return held


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rings", type=int, default=24)
    arguments.add_argument("--bundle", type=Path, default=ROOT / "models/vaerr-nano")
    arguments = arguments.parse_args()
    model = onnx.shape_inference.infer_shapes(onnx.load(arguments.bundle / "student-int8.onnx"))
    channels, size = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:3]
    shapes = [[d.dim_value for d in s] for s in layer_shapes(model)]
    with tempfile.TemporaryDirectory() as folder:
        server = peers.Server(arguments.bundle)
        given = rings(7, arguments.rings, channels, size)
        given.tofile(f"{folder}/rings")
        server.ask(f"layers {folder}/rings {folder}/layers")
        server.ask(f"tflite {folder}/student.tflite")
        found = np.fromfile(f"{folder}/layers", np.uint8).reshape(arguments.rings, -1)
        file = Path(f"{folder}/student.tflite").read_bytes()
    ends = np.cumsum([np.prod(s) for s in shapes])
    outputs = [found[:, e - np.prod(s) : e].reshape(-1, *s) for e, s in zip(ends, shapes)]
    inputs = [given] + outputs[:-1]
    parts = [tflite_layer(file, at) for at in range(len(shapes))]
    versions = f"ONNX Runtime {onnxruntime.__version__}", f"LiteRT {peers.version('ai-edge-litert')}"
    held = compare(versions[0], [onnx_layer(model, at) for at in range(len(shapes))], inputs, outputs)
    held &= compare(versions[1], [litert(p) for p in parts], inputs, outputs)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "none")
    library = ROOT / "target/fetched-by-.ci-tflite" / machine / "libtensorflowlite_c.so"
    if library.is_file():
        held &= compare("TensorFlow Lite 2.9 XNNPACK", [Library29(library, 1).load(p) for p in parts], inputs, outputs)
        compare("2.9's own kernels (for note)", [Library29(library, 0).load(p) for p in parts], inputs, outputs)
    else:
        print("TensorFlow Lite 2.9: not asked, run .ci/tflite")
    sys.exit(not held)


def layer_shapes(model):
    """Dimensions after the batch of every layer's output."""
    by_name = {v.name: v.type.tensor_type.shape.dim for v in model.graph.value_info}
    return [by_name[name][1:] for name in layer_names(model)[1:]]


if __name__ == "__main__":
    main()
