"""The plate detector's network.

Anchor-free, strides 4 to 32, boxes and plate corners decoded in the graph.

Plain 3x3 and 1x1 convolutions with ReLU: quick in every runtime, foldable, safe in FP16 and INT8.
The stride-4 level looks for plates (one 20 px wide is 5 px high: at stride 8 it is smaller than a
cell) and for vehicles of a few pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LABELS = ("plate", "car", "motorcycle", "bus", "truck")
STRIDES = (4, 8, 16, 32)
WIDTH_PX, HEIGHT_PX = 640, 384
OFFSET_LIMIT = 5.0  # exp(5) cells: above 640 px at stride 8, and far from FP16's overflow
CORNER_PRIOR = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)  # an upright plate's corners in its own box


@dataclass(frozen=True, kw_only=True)
class NetSize:
    """Channels per stride (2, 4, 8, 16, 32), of the neck and heads, and blocks per stage."""

    name: str
    stem: int
    stages: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    neck: tuple[int, int, int, int]
    neck_depth: int
    head: tuple[int, int, int, int]


SIZES = {
    "plate-detector": NetSize(
        name="plate-detector",
        stem=16,
        stages=(24, 64, 128, 192),
        depths=(1, 2, 2, 1),
        neck=(24, 64, 96, 128),
        neck_depth=1,
        head=(24, 56, 64, 96),
    ),
    "plate-detector-small": NetSize(
        name="plate-detector-small",
        stem=12,
        stages=(16, 32, 64, 112),
        depths=(1, 1, 2, 1),
        neck=(16, 32, 64, 80),
        neck_depth=1,
        head=(16, 32, 48, 64),
    ),
}


class ConvUnit(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions, with a shortcut in the backbone."""

    def __init__(self, channels: int, shortcut: int) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels)
        self.second = ConvUnit(channels, channels)
        self.shortcut = bool(shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.shortcut else y


class SplitStage(nn.Module):
    """A cross-stage-partial stage: half the channels pass by, half go through the blocks."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: int) -> None:
        super().__init__()
        half = outputs // 2
        self.keep = ConvUnit(inputs, half, 1)
        self.work = ConvUnit(inputs, half, 1)
        self.blocks = nn.ModuleList([Residual(half, shortcut) for _ in range(depth)])
        self.join = ConvUnit(half * (2 + depth), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.keep(x), self.work(x)]
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.join(torch.cat(parts, 1))


class PyramidPool(nn.Module):
    """Three chained 5x5 max pools: a wide field of view at stride 32 for little."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = ConvUnit(channels, half, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = ConvUnit(half * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.join(torch.cat(parts, 1))


class Head(nn.Module):
    """Scores from one branch; box offsets and corners from the other."""

    def __init__(self, inputs: int, channels: int, classes: int, depth: int) -> None:
        super().__init__()
        self.classes = classes
        units = [ConvUnit(inputs, channels)] + [
            ConvUnit(channels, channels) for _ in range(depth - 1)
        ]
        self.score_branch = nn.Sequential(*units)
        units = [ConvUnit(inputs, channels)] + [
            ConvUnit(channels, channels) for _ in range(depth - 1)
        ]
        self.shape_branch = nn.Sequential(*units)
        self.score = nn.Conv2d(channels, classes, 1)
        self.offsets = nn.Conv2d(channels, 4, 1)
        self.corners = nn.Conv2d(channels, 8, 1)
        nn.init.constant_(self.score.bias, -4.6)  # a 1 % prior keeps the first steps calm
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.offsets.weight, std=0.01)
        nn.init.constant_(self.offsets.bias, 0.7)
        nn.init.normal_(self.corners.weight, std=0.01)
        with torch.no_grad():
            self.corners.bias.copy_(torch.tensor(CORNER_PRIOR))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shape = self.shape_branch(x)
        return self.score(self.score_branch(x)), self.offsets(shape), self.corners(shape)


class StrideFourHead(nn.Module):
    """One shared light branch: 15,360 cells must stay cheap."""

    def __init__(self, inputs: int, channels: int, classes: int) -> None:
        super().__init__()
        self.branch = ConvUnit(inputs, channels)
        self.score = nn.Conv2d(channels, classes, 1)
        self.offsets = nn.Conv2d(channels, 4, 1)
        self.corners = nn.Conv2d(channels, 8, 1)
        nn.init.constant_(self.score.bias, -5.5)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.offsets.weight, std=0.01)
        nn.init.constant_(self.offsets.bias, 0.7)
        nn.init.normal_(self.corners.weight, std=0.01)
        with torch.no_grad():
            self.corners.bias.copy_(torch.tensor(CORNER_PRIOR))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.branch(x)
        return self.score(x), self.offsets(x), self.corners(x)


class PlateDetector(nn.Module):
    """`forward` gives logits and raw shapes per cell; `decode` turns them into pixels."""

    def __init__(self, size: NetSize) -> None:
        super().__init__()
        c4, c8, c16, c32 = size.stages
        n4, n8, n16, n32 = size.neck
        h4, h8, h16, h32 = size.head
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
        self.lateral32 = ConvUnit(c32, n32, 1)
        self.top16 = SplitStage(c16 + n32, n16, size.neck_depth, 0)
        self.lateral16 = ConvUnit(n16, n8, 1)
        self.top8 = SplitStage(c8 + n8, n8, size.neck_depth, 0)
        self.lateral8 = ConvUnit(n8, n4, 1)
        self.top4 = ConvUnit(c4 + n4, n4, 1)
        self.up16 = ConvUnit(n8, n8, 3, 2)
        self.bottom16 = SplitStage(n8 + n16, n16, size.neck_depth, 0)
        self.up32 = ConvUnit(n16, n16, 3, 2)
        self.bottom32 = SplitStage(n16 + n32, n32, size.neck_depth, 0)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")
        classes = len(LABELS)
        self.head4 = StrideFourHead(n4, h4, classes)
        self.head8 = Head(n8, h8, classes, 1)
        self.head16 = Head(n16, h16, classes, 2)
        self.head32 = Head(n32, h32, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) in 0..1 -> score logits (N, A, 5), offsets (N, A, 4), corners (N, A, 8)."""
        p4 = self.stage4(self.down4(self.stem(x)))
        p8 = self.stage8(self.down8(p4))
        p16 = self.stage16(self.down16(p8))
        p32 = self.lateral32(self.pool(self.stage32(self.down32(p16))))
        t16 = self.top16(torch.cat([self.enlarge(p32), p16], 1))
        t8 = self.top8(torch.cat([self.enlarge(self.lateral16(t16)), p8], 1))
        t4 = self.top4(torch.cat([self.enlarge(self.lateral8(t8)), p4], 1))
        b16 = self.bottom16(torch.cat([self.up16(t8), t16], 1))
        b32 = self.bottom32(torch.cat([self.up32(b16), p32], 1))
        levels = [self.head4(t4), self.head8(t8), self.head16(b16), self.head32(b32)]
        joined = [torch.cat([flat_cells(level[i]) for level in levels], 2) for i in range(3)]
        return joined[0].transpose(1, 2), joined[1].transpose(1, 2), joined[2].transpose(1, 2)


def load_weights(net: PlateDetector, weights: dict[str, Tensor]) -> None:
    """Into `net`; weights from before stride 4 looked for vehicles begin with none there."""
    own = {key: value.float() for key, value in weights.items()}
    for key, value in net.state_dict().items():
        if key.startswith("head4.score") and own[key].shape != value.shape:
            # the same every time, and below every threshold until it is learnt
            fresh = torch.zeros_like(value) if value.ndim > 1 else torch.full_like(value, -5.5)
            fresh[: len(own[key])] = own[key]
            own[key] = fresh
    net.load_state_dict(own)


def flat_cells(level: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H W); plain numbers, so that an exported graph has constant shapes."""
    channels, height, width = (int(n) for n in level.shape[1:])
    return level.reshape(-1, channels, height * width)


def cell_centres(
    width_px: int, height_px: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) and strides (A, 1) of all cells, level by level, row by row."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = height_px // stride, width_px // stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres.append((torch.stack([x, y], -1).reshape(-1, 2).float() + 0.5) * stride)
        strides.append(torch.full((rows * columns, 1), float(stride)))
    return torch.cat(centres).to(device), torch.cat(strides).to(device)


def decode_boxes(offsets: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Offsets (..., A, 4) -> boxes (..., A, 4) x1 y1 x2 y2 px."""
    reach = torch.exp(offsets.clamp(-OFFSET_LIMIT, OFFSET_LIMIT)) * strides
    return torch.cat([centres - reach[..., :2], centres + reach[..., 2:]], -1)


def decode_corners(boxes: Tensor, corners: Tensor) -> Tensor:
    """Corners as fractions of their box (..., 8) -> px (..., 8)."""
    origin, size = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    return torch.cat([origin, origin, origin, origin], -1) + corners * torch.cat(
        [size, size, size, size], -1
    )


class DecodedDetector(nn.Module):
    """What is exported: the net with decoding, for one fixed input size."""

    def __init__(
        self, net: PlateDetector, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX
    ) -> None:
        super().__init__()
        self.net = net
        centres, strides = cell_centres(width_px, height_px)
        self.register_buffer("centres", centres)
        self.register_buffer("strides", strides)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> boxes (N, A, 4), scores (N, A, 5), corners (N, A, 8)."""
        logits, offsets, corners = self.net(images)
        boxes = decode_boxes(offsets, self.centres, self.strides)
        return boxes, torch.sigmoid(logits), decode_corners(boxes, corners)


def giga_flops(net: nn.Module, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> float:
    """2 x multiply-accumulates of all convolutions for one image, in units of 1e9."""
    total = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            kernel = (
                module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
            )
            total += kernel * output.numel()

    hooks = [module.register_forward_hook(count) for module in net.modules()]
    was_training = net.training
    net.eval()
    device = next(net.parameters()).device
    with torch.no_grad():
        net(torch.zeros(1, 3, height_px, width_px, device=device))
    net.train(was_training)
    for hook in hooks:
        hook.remove()
    return 2.0 * total / 1e9


def parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())
