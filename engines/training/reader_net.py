"""The plate reader: convolutions, two attention layers over the 8x20 grid, twelve slot queries,
four heads.

Only convolutions, folded batch norms, SiLU, matrix products and softmax: FP16-safe,
INT8-friendly, and accepted by old and new TensorRT. Tensors inside attention are (batch,
channels, tokens), so that every projection is a 1x1 convolution and no layer norm is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.training.reader_geometry import MARGIN_X, MARGIN_Y, unit_corners

HEIGHT_PX, WIDTH_PX = 64, 160
SLOTS = 12
FINE_END = 7
"""So many layers of the stem end at the 16x40 map."""

RENAMED = {
    f"region.{before}.{kind}": f"region.{after}.{kind}"
    for before, after in ((0, "mean"), (3, "out.2"))
    for kind in ("weight", "bias")
}
"""What the region head's layers were called before it had looks of its own."""

NEW_HEADS = ("corners.", "region.where.", "region.seen.")
CLASSES = 37
REGION_LOOKS = 4
FINE, COARSE = 16, 20
"""Channels in which the corners' place is kept: of the 16x40 map, and of the 8x20 one."""


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


class RegionHead(nn.Module):
    """What the slots and the whole plate say, and `REGION_LOOKS` places of its own choice: a state's
    name or a seal fills a few of the 160 tokens, which a mean over all of them drowns.
    """

    def __init__(self, channels: int, regions: int) -> None:
        super().__init__()
        self.where = nn.Conv1d(channels, REGION_LOOKS, 1)
        self.seen = nn.Linear(channels * REGION_LOOKS, 160, bias=False)
        self.mean = nn.Linear(channels * 2, 160)
        self.out = nn.Sequential(nn.SiLU(), nn.Dropout(0.1), nn.Linear(160, regions))
        nn.init.zeros_(self.seen.weight)  # a reader without these looks goes on as it was

    def forward(self, memory: Tensor, pooled: Tensor) -> Tensor:
        weights = self.where(memory).softmax(dim=-1)
        looks = (weights @ memory.transpose(1, 2)).flatten(1)
        return self.out(self.mean(pooled) + self.seen(looks))

    def macs(self, tokens: int) -> int:
        return tokens * self.seen.in_features


class CornerHead(nn.Module):
    """Where the plate's corners are in the crop, from maps whose every cell keeps its own weights.

    The result (B, 8) counts from the crop's top left in parts of its width and height.
    """

    def __init__(self, fine: int, coarse: int, tokens: int, start: Tensor) -> None:
        super().__init__()
        self.fine, self.coarse = conv_bn(fine, FINE, 2, 2), _proj(coarse, COARSE)
        self.fine[0].padding = (0, 0)
        self.hidden = nn.Linear((FINE + COARSE) * tokens, 64)
        self.offset = nn.Linear(64, 8)
        self.tokens = tokens
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.register_buffer("start", start.reshape(1, 8))

    def forward(self, fine: Tensor, memory: Tensor) -> Tensor:
        maps = torch.cat(
            (self.fine(fine).reshape(-1, FINE, self.tokens), self.coarse(memory)), dim=1
        )
        hidden = nn.functional.silu(self.hidden(nn.functional.silu(maps).flatten(1)))
        return self.start + self.offset(hidden)


class ReaderNet(nn.Module):
    """crops (B, 3, 64, 160) RGB 0..1 -> character logits (B, 12, 37), region logits (B, R),
    quality logit (B, 1), corners (B, 8) x0 y0 .. x3 y3 in parts of the crop.
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
        self.region = RegionHead(channels, regions)
        self.quality = nn.Sequential(
            nn.Linear(SLOTS * 2 + channels, 64), nn.SiLU(), nn.Linear(64, 1)
        )
        inset = torch.tensor([MARGIN_X, MARGIN_Y])
        self.corners = CornerHead(
            64, channels, tokens, unit_corners(1, inset.device) * (1 - 2 * inset) + inset
        )

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        grid = fine = crops - 0.5
        for number, layer in enumerate(self.stem, start=1):
            grid = layer(grid)
            fine = grid if number == FINE_END else fine
        memory = grid.reshape(-1, self.channels, self.tokens) + self.place
        for attention, feed in self.encoder:  # type: ignore[misc]
            memory = feed(attention(memory, memory))
        slots: Tensor = self.queries  # batch 1: broadcasts in the first attention
        for cross, mix, feed in self.decoder:  # type: ignore[misc]
            slots = cross(slots, memory)
            slots = feed(mix(slots, slots))
        logits = self.chars(slots).transpose(1, 2)
        pooled = memory.mean(dim=2)
        region = self.region(memory, torch.cat((pooled, slots.mean(dim=2)), dim=1))
        # The judge sees what the reader saw but must not change it.
        chances = logits.detach().softmax(dim=-1)
        sure = torch.cat((chances.amax(dim=-1), (chances * chances).sum(dim=-1)), dim=1)
        quality = self.quality(torch.cat((sure.to(pooled.dtype), pooled.detach()), dim=1))
        return logits, region, quality, self.corners(fine, memory)


def carried(weights: dict[str, Tensor], theirs: list[str], net: ReaderNet, mine: list[str]) -> None:
    """Load the weights of another reader into a net: region labels move with their rows, labels
    that it did not know and heads that it did not have stay as they are initialised.

    Raises ValueError where anything else differs.
    """
    renamed = {RENAMED.get(name, name): value for name, value in weights.items()}
    state = net.state_dict()
    for name in ("region.out.2.weight", "region.out.2.bias"):
        rows = state[name].clone()
        for label in set(mine) & set(theirs):
            rows[mine.index(label)] = renamed[name][theirs.index(label)].to(rows.dtype)
        renamed[name] = rows
    missing, unexpected = net.load_state_dict(renamed, strict=False)
    new = tuple(name for name in missing if not name.startswith(NEW_HEADS))
    if new or unexpected:
        raise ValueError(f"not a reader's weights: {[*new, *unexpected][:4]}")


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
    attention = sum(m.macs() for m in net.modules() if isinstance(m, Attention))
    return total + attention + net.region.macs(net.tokens)


def count_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
