"""The plate reader: convolutions, two attention layers over the 8x20 grid, twelve slot queries,
three heads.

Only convolutions, folded batch norms, SiLU, matrix products and softmax: FP16-safe,
INT8-friendly, and accepted by old and new TensorRT. Tensors inside attention are (batch,
channels, tokens), so that every projection is a 1x1 convolution and no layer norm is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEIGHT_PX, WIDTH_PX = 64, 160
SLOTS = 12
CLASSES = 37


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(channels, channels, 3), conv_bn(channels, channels, 3)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.second(self.act(self.first(x))))


class Inverted(nn.Module):
    """Expand, 5x5 depthwise, project, with a shortcut."""

    def __init__(self, channels: int, expand: int) -> None:
        super().__init__()
        wide = channels * expand
        self.body = nn.Sequential(
            conv_bn(channels, wide, 1),
            nn.SiLU(),
            conv_bn(wide, wide, 5, groups=wide),
            nn.SiLU(),
            conv_bn(wide, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _proj(c_in: int, c_out: int, *, zero: bool = False) -> nn.Sequential:
    bn = nn.BatchNorm1d(c_out)
    if zero:
        nn.init.zeros_(bn.weight)
    return nn.Sequential(nn.Conv1d(c_in, c_out, 1, bias=False), bn)


class Attention(nn.Module):
    """Multi-head attention of queries (B, C, Nq) over memory (B, C, Nk), shortcut included."""

    def __init__(self, channels: int, heads: int, queries: int, keys: int) -> None:
        super().__init__()
        self.heads, self.width = heads, channels // heads
        self.nq, self.nk = queries, keys
        self.q, self.k, self.v = (
            _proj(channels, channels),
            _proj(channels, channels),
            _proj(channels, channels),
        )
        self.out = _proj(channels, channels, zero=True)
        self.bias = nn.Parameter(torch.zeros(1, heads, queries, keys))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q = self.q(x).reshape(-1, self.heads, self.width, self.nq).transpose(2, 3)
        k = self.k(memory).reshape(-1, self.heads, self.width, self.nk)
        v = self.v(memory).reshape(-1, self.heads, self.width, self.nk).transpose(2, 3)
        weights = ((q * self.width**-0.5) @ k + self.bias).softmax(dim=-1)
        mixed = (weights @ v).transpose(2, 3).reshape(-1, self.heads * self.width, self.nq)
        return x + self.out(nn.functional.silu(mixed))

    def macs(self) -> int:
        return 2 * self.nq * self.nk * self.heads * self.width


class FeedForward(nn.Module):
    def __init__(self, channels: int, expand: int) -> None:
        super().__init__()
        self.up, self.down = (
            _proj(channels, channels * expand),
            _proj(channels * expand, channels, zero=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(nn.functional.silu(self.up(x)))


class ReaderNet(nn.Module):
    """crops (B, 3, 64, 160) RGB 0..1 -> character logits (B, 12, 37), region logits (B, R),
    quality logit (B, 1).
    """

    def __init__(self, regions: int, channels: int = 136) -> None:
        super().__init__()
        act = nn.SiLU()
        self.stem = nn.Sequential(
            conv_bn(3, 24, 3, 2),
            act,
            conv_bn(24, 32, 3),
            act,
            conv_bn(32, 64, 3, 2),
            act,
            Residual(64),
            conv_bn(64, channels, 3, 2),
            act,
            Inverted(channels, 2),
            Inverted(channels, 2),
        )
        tokens = (HEIGHT_PX // 8) * (WIDTH_PX // 8)
        self.tokens, self.channels = tokens, channels
        self.place = nn.Parameter(torch.randn(1, channels, tokens) * 0.02)
        self.encoder = nn.ModuleList(
            nn.ModuleList((Attention(channels, 4, tokens, tokens), FeedForward(channels, 2)))
            for _ in range(2)
        )
        self.queries = nn.Parameter(torch.randn(1, channels, SLOTS) * 0.2)
        self.decoder = nn.ModuleList(
            nn.ModuleList(
                (
                    Attention(channels, 4, SLOTS, tokens),
                    Attention(channels, 4, SLOTS, SLOTS),
                    FeedForward(channels, 3),
                )
            )
            for _ in range(2)
        )
        self.chars = nn.Conv1d(channels, CLASSES, 1)
        self.region = nn.Sequential(
            nn.Linear(channels * 2, 160), nn.SiLU(), nn.Dropout(0.1), nn.Linear(160, regions)
        )
        self.quality = nn.Sequential(
            nn.Linear(SLOTS * 2 + channels, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grid = self.stem(crops - 0.5)
        memory = grid.reshape(-1, self.channels, self.tokens) + self.place
        for attention, feed in self.encoder:  # type: ignore[misc]
            memory = feed(attention(memory, memory))
        slots: Tensor = self.queries  # batch 1: broadcasts in the first attention
        for cross, mix, feed in self.decoder:  # type: ignore[misc]
            slots = cross(slots, memory)
            slots = feed(mix(slots, slots))
        logits = self.chars(slots).transpose(1, 2)
        pooled = memory.mean(dim=2)
        region = self.region(torch.cat((pooled, slots.mean(dim=2)), dim=1))
        # The judge sees what the reader saw but must not change it.
        chances = logits.detach().softmax(dim=-1)
        sure = torch.cat((chances.amax(dim=-1), (chances * chances).sum(dim=-1)), dim=1)
        quality = self.quality(torch.cat((sure.to(pooled.dtype), pooled.detach()), dim=1))
        return logits, region, quality


def count_macs(net: ReaderNet) -> int:
    """Multiply-adds of one crop: convolutions, linear layers and attention products."""
    total = 0

    def conv(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d | nn.Conv1d):
            total += module.weight[0].numel() * output[0].numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    hooks = [
        m.register_forward_hook(conv)
        for m in net.modules()
        if isinstance(m, nn.Conv2d | nn.Conv1d | nn.Linear)
    ]
    was_training = net.training
    net.eval()
    with torch.no_grad():
        net(torch.zeros(1, 3, HEIGHT_PX, WIDTH_PX))
    net.train(was_training)
    for hook in hooks:
        hook.remove()
    return total + sum(m.macs() for m in net.modules() if isinstance(m, Attention))


def count_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
