"""InRes-Net in PyTorch: the peer of the training benchmarks.

Layers, their order and their sizes are those of `inres.models`; only the weights come from there.
Modules have the same names as ours, so that parameters correspond by path. The code is idiomatic
PyTorch: fused operations where they exist, 1x1 convolutions as convolutions.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inres.config import Config, ConfigError


@dataclasses.dataclass(frozen=True)
class Variant:
    """How PyTorch runs the network."""

    channels_last: bool = False
    compiled: bool = False
    """By `torch.compile`, which needs a C++ compiler on a CPU."""
    bfloat16: bool = False
    """Under `torch.autocast`; parameters stay float32."""

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "default"
        compiled = ", compiled" if self.compiled else ""
        return f"PyTorch, {layout} layout{compiled}{', bfloat16' if self.bfloat16 else ''}"


def variants(device: str, *, compiled: bool) -> list[Variant]:
    """The variants to measure on a device, `cpu` or `cuda`."""
    made = [Variant(), Variant(channels_last=True)]
    if device == "cuda":
        made.append(Variant(channels_last=True, bfloat16=True))
    if compiled:
        made.append(Variant(channels_last=True, compiled=True))
        if device == "cuda":
            made.append(Variant(channels_last=True, compiled=True, bfloat16=True))
    return made


def use_gpu() -> bool:
    """Choose fast algorithms on a GPU, and TF32 as JAX does; False if there is none."""
    if not torch.cuda.is_available():
        return False
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    return True


def wait_for_gpu(value: Any) -> Any:
    """Wait for everything that the GPU was given to do; returns `value`."""
    torch.cuda.synchronize()
    return value


def set_threads(count: int) -> dict[str, Any]:
    """Use `count` threads; returns a description of the peer for the results."""
    torch.set_num_threads(count)
    return {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def _to_our_layout(value: torch.Tensor) -> np.ndarray:
    """A copy of a weight or gradient in our layout: OIHW -> HWIO, [out, in] -> [in, out]."""
    array = value.detach().cpu().numpy()
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
        if array.shape[:2] == (1, 1):
            array = array[0, 0]
    elif array.ndim == 2:
        array = array.T
    return np.array(array)


def _fill(parameter: torch.Tensor, value: np.ndarray) -> None:
    """Set a parameter from an array in our layout."""
    if parameter.ndim == 4:
        value = value.reshape(*parameter.shape[2:], *value.shape[-2:]).transpose(3, 2, 0, 1)
    elif parameter.ndim == 2:
        value = value.T
    parameter.copy_(torch.from_numpy(np.array(value, np.float32)))


def _path(name: str) -> str:
    """The path of our parameter: `inv2_1.squeeze.conv.weight` -> `inv2_1/squeeze/conv/kernel`."""
    *modules, leaf = name.split(".")
    if leaf == "weight":
        leaf = "scale" if modules[-1] == "norm" else "kernel"
    return "/".join([*modules, leaf])


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and optionally ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, *, relu: bool = True):
        super().__init__()
        # JAX's "SAME" padding at stride 2 adds one pixel less before than after an even side.
        near = (size - stride) // 2
        self.sides = (near, size - stride - near) * 2 if stride > 1 else None
        padding = size // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, outputs, H / stride, W / stride]."""
        if self.sides is not None:
            x = functional.pad(x, self.sides)
        x = self.norm(self.conv(x))
        return functional.relu(x, inplace=True) if self.relu else x


class InV2(nn.Module):
    """Space compression (paper, Fig. 3)."""

    def __init__(self, n: int):
        super().__init__()
        q = n // 4
        self.squeeze = ConvNorm(n, 3 * q, 1)
        self.path1_3x3 = ConvNorm(q, q, 3, 2)
        self.path2_3x3 = ConvNorm(q, q, 3, 2)
        self.path3_3x3_1 = ConvNorm(q, q, 3)
        self.path3_3x3_2 = ConvNorm(q, n // 2, 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, k, k] -> [B, 2N, k/2, k/2]."""
        a, b, c = self.squeeze(x).chunk(3, dim=1)
        pooled = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        c = self.path3_3x3_2(self.path3_3x3_1(c))
        return torch.cat([pooled, self.path1_3x3(a), self.path2_3x3(b), c], dim=1)


class InRed(nn.Module):
    """Multi-receptive-field residual (paper, Fig. 4)."""

    def __init__(self, n: int, scale: float):
        super().__init__()
        q = n // 4
        self.scale = scale
        self.squeeze = ConvNorm(n, 3 * q, 1, relu=False)
        self.path2_3x3 = ConvNorm(q, q, 3, relu=False)
        self.path3_3x3_1 = ConvNorm(q, q, 3)
        self.path3_3x3_2 = ConvNorm(q, n // 2, 3, relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, k, k] -> the same shape."""
        a, b, c = self.squeeze(x).chunk(3, dim=1)
        b = self.path2_3x3(functional.relu(b))
        c = self.path3_3x3_2(self.path3_3x3_1(functional.relu(c)))
        return functional.relu(torch.add(x, torch.cat([a, b, c], dim=1), alpha=self.scale))


class Head(nn.Module):
    """FC1, H, FC3."""

    def __init__(self, inputs: int, fc1: int, bits: int, classes: int, *, flatten: bool):
        """`inputs` is the length of what FC1 sees: channels, or with `flatten` the whole map."""
        super().__init__()
        self.flatten = flatten
        self.fc1 = nn.Linear(inputs, fc1)
        self.fc2 = nn.Linear(fc1, bits)
        self.fc3 = nn.Linear(bits, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        # In the order of our maps, whose last axis is that of channels.
        x = x.permute(0, 2, 3, 1).flatten(1) if self.flatten else x.mean(dim=(2, 3))
        x = functional.relu(self.fc1(x))
        return self.fc3(torch.sigmoid(self.fc2(x)))


def check(config: Config) -> None:
    """Check that this module implements the config.

    Raises:
      ConfigError: it does not; names the field and the supported value.
    """
    m, loss, train = config.model, config.loss, config.train
    for field, value, only in (
        ("items.neighbours", config.items.neighbours, 0),
        ("model.name", m.name, "inres_net"),
        ("model.compression", m.compression, "inv2"),
        ("model.residual", m.residual, "inred"),
        ("model.norm", m.norm, "batch"),
        ("model.dropout", m.dropout, 0.0),
        ("loss.name", loss.name, "nll"),
        ("loss.fine", loss.fine, 0.0),
        ("train.schedule", train.schedule, "constant"),
        ("train.clip_norm", train.clip_norm, 0.0),
    ):
        if value != only:
            raise ConfigError(
                f"config.experiment.{field} = {value!r}: the peer supports only {only!r}"
            )


class InResNet(nn.Module):
    """Stem, inV2 + inRed three times, head.

    Raises:
      ConfigError: the config is not supported.
    """

    def __init__(self, config: Config, classes: int):
        super().__init__()
        check(config)
        m = config.model
        self.stem = ConvNorm(1, m.stem, m.stem_kernel, m.stem_stride)
        self.pool = m.stem_pool
        n = m.stem
        for level in (1, 2, 3):
            self.add_module(f"inv2_{level}", InV2(n))
            n *= 2
            self.add_module(f"inred_{level}", InRed(n, m.residual_scale))
        flatten = m.pooling == "flatten"
        inputs = n * _map_side(config) ** 2 if flatten else n
        self.head = Head(inputs, m.fc1, config.hash.bits, classes, flatten=flatten)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 1, S, S] -> logits [B, classes]."""
        x = self.stem(images)
        if self.pool:
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for level in (1, 2, 3):
            x = getattr(self, f"inred_{level}")(getattr(self, f"inv2_{level}")(x))
        return self.head(x)


def _map_side(config: Config) -> int:
    """Side of the map that FC1 sees."""
    side = -(-config.items.size_px // config.model.stem_stride)
    for _ in range(3 + config.model.stem_pool):
        side = -(-side // 2)
    return side


class Trainer:
    """Trains the network on one batch, with SGD and weight decay on kernels."""

    def __init__(
        self,
        config: Config,
        weights: dict[str, np.ndarray],
        images: np.ndarray,
        labels: np.ndarray,
        *,
        classes: int,
        variant: Variant,
        device: str = "cpu",
    ):
        """Initialize the network.

        Args:
          config: the experiment.
          weights: initial weights by path, in our layout.
          images: uint8 [B, S, S, 1].
          labels: int [B].
          classes: number of classes.
          variant: how it runs.
          device: `cpu` or `cuda`.
        """
        net = InResNet(config, classes).train()
        named = {_path(name): parameter for name, parameter in net.named_parameters()}
        if named.keys() != weights.keys():
            raise RuntimeError(f"not the same network: {sorted(named.keys() ^ weights.keys())}")
        with torch.no_grad():
            for path, parameter in named.items():
                _fill(parameter, weights[path])
        memory = torch.channels_last if variant.channels_last else torch.contiguous_format
        untyped: Any = net  # torch's own types do not list `memory_format` for modules
        self.net: InResNet = untyped.to(device=device, memory_format=memory)
        self.forward: Callable[[torch.Tensor], torch.Tensor] = (
            torch.compile(self.net) if variant.compiled else self.net
        )
        shown = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        self.images = shown.to(device=device, memory_format=memory)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=variant.bfloat16)
        t = config.train
        self.clip = t.clip_norm
        self.compile_s: float | None = None
        """Duration of the first pass in seconds, for variants that are compiled."""
        groups: list[dict[str, Any]] = [
            {"params": [p for p in named.values() if p.ndim > 1]},
            {"params": [p for p in named.values() if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(
            groups,
            lr=t.learning_rate,
            momentum=t.momentum,
            nesterov=t.nesterov,
            weight_decay=t.weight_decay,
        )

    def _backward(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            logits = self.forward(self.images.float() / 255.0).float()
        loss = functional.cross_entropy(logits, self.labels)
        loss.backward()
        return logits, loss

    def snapshot(self) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
        """Logits [B, classes], loss and gradients by path in our layout, without a step."""
        logits, loss = self._backward()
        named = self.net.named_parameters()
        gradients = {_path(name): _to_our_layout(p.grad) for name, p in named if p.grad is not None}
        return logits.detach().cpu().numpy(), float(loss.detach()), gradients

    def step(self) -> float:
        """Make one step; returns the loss before it."""
        return float(self.queue())

    def queue(self) -> torch.Tensor:
        """Make one step; returns the loss before it, on the device, which may still compute it."""
        _, loss = self._backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.optimizer.step()
        return loss.detach()
