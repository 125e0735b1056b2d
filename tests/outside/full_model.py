#!/usr/bin/env python3
"""Holds the full model against PyTorch, which is given the paper's description and the same random weights.

Without arguments: that the committed golden files are what PyTorch says, and that the full-size model's logits agree within
1e-4 (the Rust side, `train::full::pth`, imports a checkpoint in the authors' layout that this script writes). PyTorch runs in
f64, so that a gap is ours alone; its own f32 gap is printed beside. `--write` makes the golden files anew.

    tests/outside/full_model.py [--write]

Needs numpy and torch; the CPU build of torch will do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "tests/golden/full-narrow.pth"
ANSWERS = ROOT / "tests/golden/full-narrow-answers.pth"
NARROW = dict(width=4, hidden=8)
OUTPUTS = 42
GRADIENTS = ["frontend3D.0.weight", "trunk.layer2.0.downsample.0.weight", "trunk.layer4.1.bn2.weight"]
GRADIENTS += ["gru.gru.weight_hh_l0_reverse", "gru.gru.bias_hh_l1", "gru.fc.weight"]


class Residual(nn.Module):
    """Basic block of ResNet-18."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    def __init__(self, width):
        super().__init__()
        for stage in range(4):
            out = width << stage
            first = Residual(out if stage == 0 else out // 2, out, 1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, Residual(out, out, 1)))

    def forward(self, x):
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class Temporal(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, OUTPUTS)

    def forward(self, x):
        return self.fc(self.gru(x)[0])


class FullModel(nn.Module):
    """The paper's network; names of parameters as in the authors' checkpoints, with the second GRU that they never use."""

    def __init__(self, width=64, hidden=256, unused=False):
        super().__init__()
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, width, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.trunk = Trunk(width)
        self.gru = Temporal(8 * width, hidden)
        if unused:
            self.gru2 = Temporal(8 * width, hidden)

    def forward(self, clips):
        """Normalised clips B x T x H x W to logits B x T x 42."""
        batch, frames = clips.shape[:2]
        maps = self.frontend3D(clips[:, None]).transpose(1, 2).flatten(0, 1)
        return self.gru(self.trunk(maps).view(batch, frames, -1))


def weights(net, seed):
    """Random weights under which activations keep their size; BatchNorm's statistics and gains are random too."""
    rng = np.random.default_rng(seed)
    state = net.state_dict()
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        draw = rng.standard_normal(tuple(tensor.shape))
        if tensor.dim() > 1:
            draw *= (2 / tensor[0].numel()) ** 0.5 if "gru" not in name else tensor.shape[1] ** -0.5
        elif name.endswith("running_var"):
            draw = rng.uniform(0.5, 1.5, tensor.shape)
        elif tensor.dim() == 1 and ("bn" in name or ".1." in name) and name.endswith("weight"):
            draw = rng.uniform(0.5, 1.5, tensor.shape)
        else:
            draw *= 0.1
        state[name] = torch.from_numpy(draw.astype(np.float32))
    net.load_state_dict(state)
    return net


def clips(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def answers(net, x):
    """Logits with running and with batch statistics, and gradients of the mean square of the latter; all by f64."""
    net = net.double()
    out = {"clips": x, "eval": net.eval()(x.double()).detach()}
    logits = net.train()(x.double())
    logits.square().mean().backward()
    parameters = dict(net.named_parameters())
    out |= {"train": logits.detach()} | {name: parameters[name].grad for name in GRADIENTS}
    out["mean"] = net.trunk.layer4[1].bn2.running_mean
    return {name: tensor.float().clone() for name, tensor in out.items()}


def narrow():
    net = weights(FullModel(**NARROW, unused=True), 1)
    state = {"model_state_dict": {k: v.clone() for k, v in net.state_dict().items()}, "epoch": 0}
    for parameter in net.gru2.parameters():
        parameter.requires_grad = False
    return state, answers(net, clips(2, 2, 5, 32, 32))


def golden_holds():
    """Whether the committed files are what this script computes."""
    state, wanted = narrow()
    kept, found = torch.load(WEIGHTS), torch.load(ANSWERS)
    same = all(torch.equal(v, kept["model_state_dict"][k]) for k, v in state["model_state_dict"].items())
    gap = max((found[k] - v).abs().max().item() for k, v in wanted.items())
    print(f"golden files: weights {'are' if same else 'are not'} the script's, answers differ by {gap:.1e}")
    return same and set(found) == set(wanted) and gap < 1e-5


def full_size_holds():
    """Whether the Rust side gives the paper-size model's logits."""
    net = weights(FullModel(), 3)
    x = clips(4, 1, 6, 96, 96)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        torch.save(net.state_dict(), f"{folder}/weights.pth")
        single = net.eval()(x)
        exact = net.double().eval()(x.double())
        torch.save({"clips": x, "logits": exact.float()}, f"{folder}/answers.pth")
        print(f"full size: logits up to {exact.abs().max():.3f}; PyTorch's own f32 differs by {(single - exact).abs().max():.1e}")
        test = "train::full::pth::tests::the_full_size_model_agrees_with_pytorch"
        command = ["cargo", "test", "--features", "train", "--lib", test, "--", "--ignored", "--exact", "--nocapture"]
        run = subprocess.run(command, cwd=ROOT, env=os.environ | {"VAERR_FULL_MODEL": folder}, stdout=subprocess.PIPE, text=True)
    print(*(line for line in run.stdout.splitlines() if "gap" in line or "test result" in line), sep="\n")
    return run.returncode == 0 and "1 passed" in run.stdout


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--write", action="store_true", help="make the golden files anew")
    if arguments.parse_args().write:
        for path, content in zip((WEIGHTS, ANSWERS), narrow()):
            torch.save(content, path)
        return
    held = golden_holds()
    sys.exit(not (full_size_holds() and held))


if __name__ == "__main__":
    main()
