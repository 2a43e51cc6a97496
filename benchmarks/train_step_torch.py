"""Group-Net's ResNet-18 in plain PyTorch, for `train_step.py`; Adam, kernels clipped to [-1, 1]."""

from __future__ import annotations

import sys

import torch
from torch import nn
from torch.nn import functional
from train_step_worker import serve


class Sign(torch.autograd.Function):
    """Sign with the straight-through gradient of `ste_sign`."""

    @staticmethod
    def forward(ctx, x):
        """Returns +1 where `x` is at least 0, else -1."""
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient):
        """Passes the gradient where abs(x) is at most 1."""
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class Unit(nn.Module):
    """Binary convolution, padded with +1, then ReLU (optional) and normalisation."""

    def __init__(self, inputs, outputs, side, stride=1, relu=True):
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(outputs, inputs, side, side).uniform_(-0.1, 0.1))
        self.stride, self.pad, self.relu = stride, side // 2, relu
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        """Maps `(batch, in, height, width)`."""
        x = functional.pad(Sign.apply(x), [self.pad] * 4, value=1.0)
        x = functional.conv2d(x, Sign.apply(self.kernel), stride=self.stride)
        return self.bn(functional.relu(x) if self.relu else x)


class Block(nn.Module):
    """Two convolutions with a shortcut around each."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = Unit(inputs, outputs, 3, stride)
        self.second = Unit(outputs, outputs, 3)
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else Unit(inputs, outputs, 1, stride, relu=False)

    def forward(self, x):
        """Maps `(batch, in, height, width)`."""
        x = self.first(x) + self.shortcut(x)
        return self.second(x) + x


class GroupNet(nn.Module):
    """Gated ResNet-18 with one gate per block and learned scales."""

    def __init__(self, bases, classes=1000):
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn = nn.BatchNorm2d(64)
        layout = [(64, 64, 1), (64, 64, 1)]
        for inputs in (64, 128, 256):
            layout += [(inputs, 2 * inputs, 2), (2 * inputs, 2 * inputs, 1)]
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(*shape) for _ in range(bases)) for shape in layout
        )
        self.scales = nn.Parameter(torch.full((len(layout), bases), 1 / bases))
        self.gates = nn.Parameter(torch.rand(len(layout)))
        self.logits = nn.Linear(512, classes)

    def forward(self, x):
        """Maps images `(batch, 3, height, width)` to logits."""
        x = self.bn(functional.max_pool2d(self.conv(x), 3, 2, 1))
        own = []
        for number, block in enumerate(self.blocks):
            gate = torch.sigmoid(self.gates[number])
            streams = [gate * o + (1 - gate) * x for o in own] or [x] * len(block)
            own = [base(stream) for base, stream in zip(block, streams, strict=True)]
            x = sum(scale * o for scale, o in zip(self.scales[number], own, strict=True))
        return self.logits(x.mean((2, 3)))


def build():
    """The step of `train_step_worker.serve`."""
    torch.manual_seed(0)
    model = GroupNet(int(sys.argv[2]))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-7)
    images = torch.randn(int(sys.argv[3]), 3, 64, 64)
    labels = torch.randint(1000, (len(images),))
    kernels = [module.kernel for module in model.modules() if isinstance(module, Unit)]

    def step():
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        with torch.no_grad():
            for kernel in kernels:
                kernel.clamp_(-1, 1)

    return step, lambda: "-"


if __name__ == "__main__":
    serve(build)
