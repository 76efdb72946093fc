"""The vehicle-attributes network: the plate detector's trunk, then one head a question.

The trunk is the detector's, weights and all, so that training begins with what some thousand
street photographs taught it. Colour also looks at the stride-8 map, where paint is still paint;
every head sees the stride-32 map with its places, for the left half of a car is not its right.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engines.training.attributes_labels import HEADS
from engines.training.detector_net import SIZES, ConvUnit, PyramidPool, SplitStage

SIDE_PX = 160
MARGIN = 1.15
"""The crop's side over the longer side of the vehicle's box."""


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
        p8 = self.stage8(self.down8(self.stage4(self.down4(self.stem(x)))))
        p32 = self.pool(self.stage32(self.down32(self.stage16(self.down16(p8)))))
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


def begin_from(net: AttributesNet, trunk: Mapping[str, Tensor]) -> int:
    """Take over the detector's trunk; how many tensors."""
    own = net.state_dict()
    taken = {k: v.float() for k, v in trunk.items() if k in own and own[k].shape == v.shape}
    net.load_state_dict(taken, strict=False)
    return len(taken)
