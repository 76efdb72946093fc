"""The vehicle-attributes network: the plate detector's trunk, then one head a question.

The trunk is the detector's, weights and all, so that training begins with what some thousand
street photographs taught it. Colour also looks at the stride-8 map, where paint is still paint;
every head sees the stride-32 map with its places, for the left half of a car is not its right.

What colour is shipped with comes from painters, trained afterwards on the finished trunk: maps of
attention say where paint is, and what is pooled there are tones of the crop itself, beside those
of the surroundings. So a thousand labels suffice, which the deep features only learn by heart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.training.attributes_labels import COLOURS, HEADS, UNKNOWN
from engines.training.detector_net import SIZES, ConvUnit, PyramidPool, SplitStage

SIDE_PX = 160
MARGIN = 1.15
"""The crop's side over the longer side of the vehicle's box."""

COLOURLESS = 0.008
"""Below this colourfulness a crop begins to be grey; the least of coloured val crops is 0.010."""

COMPONENTS = 24
"""Of each of the trunk's maps that painters look at."""


class AttributesNet(nn.Module):
    def __init__(self, dropout: float = 0.25) -> None:
        super().__init__()
        size = SIZES["plate-detector"]
        c4, c8, c16, c32 = size.stages
        d4, d8, d16, d32 = size.depths
        self.stem = ConvUnit(3, size.stem, 3, 2)
        self.down4 = ConvUnit(size.stem, c4, 3, 2)
        self.stage4 = SplitStage(c4, c4, d4, 1)
        self.down8 = ConvUnit(c4, c8, 3, 2)
        self.stage8 = SplitStage(c8, c8, d8, 1)
        self.down16 = ConvUnit(c8, c16, 3, 2)
        self.stage16 = SplitStage(c16, c16, d16, 1)
        self.down32 = ConvUnit(c16, c32, 3, 2)
        self.stage32 = SplitStage(c32, c32, d32, 1)
        self.pool = PyramidPool(c32)
        cells = SIDE_PX // 32
        self.wide = ConvUnit(c32, 224, 1)
        self.placed = ConvUnit(c32, 24, 1)
        self.paint = ConvUnit(c8, 48, 1)
        self.mean = nn.AvgPool2d(cells)
        self.mean8 = nn.AvgPool2d(SIDE_PX // 8)
        self.centre8 = nn.AvgPool2d(SIDE_PX // 16)
        self.mix = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(224 + 24 * cells * cells, 192),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.heads = nn.ModuleList(
            nn.Linear(192 + (96 if name == "color" else 0), len(labels))
            for name, labels in HEADS.items()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, 160, 160) in 0..1 -> logits, one (N, labels) per head in the order of HEADS."""
        p8, p16 = self.maps(x)
        return self.answers(p8, p16)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 160, 160) -> maps of stride 8 (N, 64, 20, 20) and 16 (N, 128, 10, 10)."""
        p8 = self.stage8(self.down8(self.stage4(self.down4(self.stem(x)))))
        return p8, self.stage16(self.down16(p8))

    def answers(self, p8: Tensor, p16: Tensor) -> tuple[Tensor, ...]:
        p32 = self.pool(self.stage32(self.down32(p16)))
        means = self.mean(self.wide(p32)).flatten(1)
        y = self.mix(torch.cat([means, self.placed(p32).flatten(1)], 1))
        paint = self.paint(p8)
        quarter = SIDE_PX // 32
        middle = self.centre8(paint[:, :, quarter:-quarter, quarter:-quarter])
        colour = torch.cat([y, self.mean8(paint).flatten(1), middle.flatten(1)], 1)
        return tuple(
            head(colour if name == "color" else y)
            for name, head in zip(HEADS, self.heads, strict=True)
        )


class Painter(nn.Module):
    """Names the paint from the trunk's maps and the crop in miniature.

    `basis8` and `basis16` reduce the maps to principal components, fixed before training.
    """

    def __init__(self, attention: int = 4, tones: int = 24, dropout: float = 0.3) -> None:
        super().__init__()
        size = SIZES["plate-detector"]
        self.basis8 = nn.Conv2d(size.stages[1], COMPONENTS, 1)
        self.basis16 = nn.Conv2d(size.stages[2], COMPONENTS, 1)
        self.register_buffer("place", places(SIDE_PX // 8))
        self.att = nn.Sequential(
            nn.Conv2d(2 * COMPONENTS + 4, 32, 1), nn.ReLU(), nn.Conv2d(32, attention, 1)
        )
        self.tone = nn.Sequential(
            nn.Conv2d(12, 40, 1), nn.ReLU(), nn.Conv2d(40, tones, 1), nn.ReLU()
        )
        self.ctx = nn.Sequential(nn.Conv2d(2 * COMPONENTS, 16, 1), nn.ReLU())
        self.out = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(attention * (tones + 16) + tones, 64), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(64, len(COLOURS)),
        )  # fmt: skip

    def forward(self, p8: Tensor, p16: Tensor, small: Tensor) -> Tensor:
        """Maps, and the crop at (N, 3, 20, 20) -> logits (N, colours)."""
        return self.named(self.basis8(p8), self.basis16(p16), small)

    def named(self, c8: Tensor, c16: Tensor, small: Tensor) -> Tensor:
        """From the maps' components."""
        deep, placed = looked_at(c8, c16, self.place)
        tones = self.tone(tinted(small))
        where = self.att(placed).flatten(2).softmax(-1)
        what = torch.cat([tones, self.ctx(deep)], 1).flatten(2).transpose(1, 2)
        pooled = torch.matmul(where, what).flatten(1)
        return self.out(torch.cat([pooled, tones.mean((2, 3))], 1))


def places(cells: int) -> Tensor:
    """Where each cell lies (1, 4, cells, cells): across without a side, down, their squares."""
    axis = (torch.arange(cells) + 0.5) * 2 / cells - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.abs(), y, x * x, y * y])[None]


def looked_at(c8: Tensor, c16: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps' components in one (N, 48, 20, 20), and the same with their places."""
    deep = torch.cat([c8, functional.interpolate(c16, scale_factor=2, mode="nearest")], 1)
    # as many places as crops, in every exporter
    return deep, torch.cat([deep, deep[:, :4] * 0 + place], 1)


def tinted(small: Tensor) -> Tensor:
    """Tones (N, 12, 20, 20) as they are, and beside the crop's own light and cast."""
    around = small.mean((2, 3), keepdim=True)
    luma, light = small.mean(1, keepdim=True), around.mean(1, keepdim=True)
    hue = (small - luma) / (luma + 0.1)
    cast = (around - light) / (light + 0.1)
    return torch.cat(
        [
            small * 2 - 1,
            luma / (light + 0.1) - 1,
            hue * 2,
            (hue - cast) * 2,
            (cast[:, :2] * 4).expand(-1, -1, *small.shape[2:]),
        ],
        1,
    )


class Painters(nn.Module):
    """The mean of several painters' logits, their layers laid side by side.

    One after the other they would cost as many small operations as the trunk has.

    Args:
        painters: trained alike: of one shape, on the same principal components.
    """

    def __init__(self, painters: Sequence[Painter]) -> None:
        super().__init__()
        first, self.count = painters[0], len(painters)
        for other in painters[1:]:
            for name in ("basis8", "basis16"):
                mine, theirs = getattr(first, name), getattr(other, name)
                if not torch.equal(mine.weight, theirs.weight):
                    raise ValueError(f"these painters differ in {name}: train them in one call")
        self.basis8, self.basis16 = first.basis8, first.basis16
        self.register_buffer("place", first.place)
        self.att = nn.Sequential(
            beside([p.att[0] for p in painters]),
            nn.ReLU(),
            beside([p.att[2] for p in painters], apart=True),
        )
        self.tone = nn.Sequential(
            beside([p.tone[0] for p in painters]), nn.ReLU(),
            beside([p.tone[2] for p in painters], apart=True), nn.ReLU(),
        )  # fmt: skip
        self.ctx = nn.Sequential(beside([p.ctx[0] for p in painters]), nn.ReLU())
        inner, last = ([p.out[k] for p in painters] for k in (1, 4))
        self.inner = nn.Parameter(torch.stack([linear.weight.T for linear in inner])[None])
        self.inner_bias = nn.Parameter(
            torch.stack([linear.bias for linear in inner])[None, :, None]
        )
        self.last = nn.Linear(64 * self.count, len(COLOURS))
        with torch.no_grad():
            self.last.weight.copy_(torch.cat([layer.weight for layer in last], 1) / self.count)
            self.last.bias.copy_(torch.stack([layer.bias for layer in last]).mean(0))

    def forward(self, p8: Tensor, p16: Tensor, small: Tensor) -> Tensor:
        """Maps, and the crop at (N, 3, 20, 20) -> logits (N, colours)."""
        deep, placed = looked_at(self.basis8(p8), self.basis16(p16), self.place)
        tones = self._each(self.tone(tinted(small)))
        where = self._each(self.att(placed)).softmax(-1)
        what = torch.cat([tones, self._each(self.ctx(deep))], 2).transpose(2, 3)
        pooled = torch.matmul(where, what).flatten(2)
        seen = torch.cat([pooled, tones.mean(3)], 2)[:, :, None]
        inner = functional.relu(torch.matmul(seen, self.inner) + self.inner_bias)
        return self.last(inner.flatten(1))

    def _each(self, maps: Tensor) -> Tensor:
        """(N, painters x C, H, W) -> (N, painters, C, H x W)."""
        channels, cells = maps.shape[1] // self.count, maps.shape[2] * maps.shape[3]
        return maps.reshape(-1, self.count, channels, cells)


def beside(layers: Sequence[nn.Conv2d], *, apart: bool = False) -> nn.Conv2d:
    """One 1x1 convolution for several: of the same input, or with `apart` each of its own."""
    into, out = layers[0].in_channels, layers[0].out_channels
    count = len(layers)
    joined = nn.Conv2d(into * (count if apart else 1), out * count, 1, groups=count if apart else 1)
    with torch.no_grad():
        joined.weight.copy_(torch.cat([layer.weight for layer in layers]))
        joined.bias.copy_(torch.cat([layer.bias for layer in layers]))
    return joined


def colourfulness(small: Tensor) -> Tensor:
    """How far tones (N, 3, H, W) differ from grey (N,), whatever the light's own colour."""
    balanced = small / (small.mean((2, 3), keepdim=True) + 1e-3)
    return (balanced - balanced.mean(1, keepdim=True)).abs().mean((1, 2, 3))


class Repainted(nn.Module):
    """The net with its colours from painters: the mean of their logits.

    Where the whole crop has but one hue, as grey and infrared pictures have, colour is unknown
    whatever the painters see.
    """

    def __init__(self, net: AttributesNet, painters: Sequence[Painter]) -> None:
        super().__init__()
        self.net = net
        self.painters = Painters(painters)
        self.small = nn.AvgPool2d(8)
        doubt = torch.zeros(1, len(COLOURS))
        doubt[0, UNKNOWN] = 20.0
        self.register_buffer("doubt", doubt)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        p8, p16 = self.net.maps(x)
        small = self.small(x)
        said = self.painters(p8, p16, small)
        drained = functional.relu(COLOURLESS - colourfulness(small)) / COLOURLESS
        colour = said + drained[:, None] * self.doubt
        others = self.net.answers(p8, p16)
        return tuple(
            colour if name == "color" else other for name, other in zip(HEADS, others, strict=True)
        )


def begin_from(net: AttributesNet, trunk: Mapping[str, Tensor]) -> int:
    """Take over the detector's trunk; how many tensors."""
    own = net.state_dict()
    taken = {k: v.float() for k, v in trunk.items() if k in own and own[k].shape == v.shape}
    net.load_state_dict(taken, strict=False)
    return len(taken)
