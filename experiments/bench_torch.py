"""InRes-Net in PyTorch eager, with the weights of ours: the peer of the training benchmark.

Layers, order and numbers are those of `inres.models`, layer by layer; nothing is taken from it but
the weights. Written as one would in PyTorch: fused where it has fused operations, 1x1 convolutions
as convolutions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Weights = Mapping[str, Any]


def _filled(layer: nn.Module, **values: np.ndarray) -> Any:
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(torch.from_numpy(np.array(value, np.float32)))
    return layer


def _linear(weights: Weights) -> nn.Linear:
    kernel = np.asarray(weights["kernel"])
    layer = nn.Linear(*kernel.shape)
    return _filled(layer, weight=kernel.T, bias=weights["bias"])


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU or not."""

    def __init__(self, weights: Weights, stride: int = 1, *, relu: bool = True):
        super().__init__()
        kernel = np.asarray(weights["conv"]["kernel"])
        if kernel.ndim == 2:
            kernel = kernel[None, None]
        size, _, inputs, outputs = kernel.shape
        # JAX's "SAME" pads an even side at stride 2 on the far side alone.
        self.pad = stride == 2 and size > 1
        near = (size - 2) // 2
        self.sides = (near, size - 2 - near) * 2
        padding = 0 if self.pad else size // 2
        conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.conv = _filled(conv, weight=kernel.transpose(3, 2, 0, 1))
        norm = nn.BatchNorm2d(outputs)
        self.norm = _filled(norm, weight=weights["norm"]["scale"], bias=weights["norm"]["bias"])
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W]."""
        if self.pad:
            x = functional.pad(x, self.sides)
        x = self.norm(self.conv(x))
        return functional.relu(x, inplace=True) if self.relu else x


class InV2(nn.Module):
    """Space compression (paper, Fig. 3)."""

    def __init__(self, weights: Weights):
        super().__init__()
        self.squeeze = ConvNorm(weights["squeeze"])
        self.a = ConvNorm(weights["path1_3x3"], 2)
        self.b = ConvNorm(weights["path2_3x3"], 2)
        self.c1 = ConvNorm(weights["path3_3x3_1"])
        self.c2 = ConvNorm(weights["path3_3x3_2"], 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, k, k] -> [B, 2N, k/2, k/2]."""
        a, b, c = self.squeeze(x).chunk(3, dim=1)
        pooled = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        return torch.cat([pooled, self.a(a), self.b(b), self.c2(self.c1(c))], dim=1)


class InRed(nn.Module):
    """Multi-receptive-field residual (paper, Fig. 4)."""

    def __init__(self, weights: Weights):
        super().__init__()
        self.squeeze = ConvNorm(weights["squeeze"], relu=False)
        self.b = ConvNorm(weights["path2_3x3"], relu=False)
        self.c1 = ConvNorm(weights["path3_3x3_1"])
        self.c2 = ConvNorm(weights["path3_3x3_2"], relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, k, k] -> the same shape."""
        a, b, c = self.squeeze(x).chunk(3, dim=1)
        b, c = self.b(functional.relu(b)), self.c2(self.c1(functional.relu(c)))
        return functional.relu(x + torch.cat([a, b, c], dim=1))


class InResNet(nn.Module):
    """Stem, inV2 + inRed three times, FC1, H, FC3."""

    def __init__(self, weights: Weights, *, stem_stride: int, stem_pool: bool, flatten: bool):
        super().__init__()
        self.stem = ConvNorm(weights["stem"], stem_stride)
        blocks: list[nn.Module] = []
        for level in (1, 2, 3):
            blocks += [InV2(weights[f"inv2_{level}"]), InRed(weights[f"inred_{level}"])]
        self.blocks = nn.Sequential(*blocks)
        self.stem_pool, self.flatten = stem_pool, flatten
        head = weights["head"]
        self.fc1, self.fc2, self.fc3 = (_linear(head[name]) for name in ("fc1", "fc2", "fc3"))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 1, S, S] -> logits [B, classes]."""
        x = self.stem(images)
        if self.stem_pool:
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.blocks(x)
        x = x.permute(0, 2, 3, 1).flatten(1) if self.flatten else x.mean(dim=(2, 3))
        return self.fc3(torch.sigmoid(self.fc2(functional.relu(self.fc1(x)))))


class Trainer:
    """The network with SGD, Nesterov momentum and weight decay on kernels."""

    def __init__(
        self,
        weights: Weights,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        channels_last: bool,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        **network: Any,
    ):
        """images: float32 [B, S, S]; labels: int [B]."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net = InResNet(weights, **network).to(memory_format=layout).train()
        self.images = torch.from_numpy(images[:, None].copy()).to(memory_format=layout)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        kernels = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.SGD(
            [
                {"params": kernels, "weight_decay": weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=learning_rate,
            momentum=momentum,
            nesterov=True,
        )

    def step(self) -> float:
        """One step on the batch; the loss before it."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def kernels(self) -> dict[str, np.ndarray]:
        """Some weights, in our layout, to be compared."""
        net: Any = self.net
        found = {
            "stem": net.stem.conv.weight.permute(2, 3, 1, 0),
            "inv2_2/path3_3x3_2": net.blocks[2].c2.conv.weight.permute(2, 3, 1, 0),
            "inred_3/squeeze": net.blocks[5].squeeze.conv.weight[:, :, 0, 0].T,
            "head/fc2": net.fc2.weight.T,
        }
        return {name: value.detach().numpy() for name, value in found.items()}
