"""Where a plate's corners land in the reader's crop, batched on the device: what detectors and
annotated boxes make of tilted plates; and the warp that puts them there.

A plate seen from the side keeps its upright edges and slants its long ones: `slanted`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

MARGIN_X, MARGIN_Y = 0.04, 0.08
OUT_H, OUT_W = 64, 160
CONTEXT = 0.4
"""What a packed crop shows beyond its box on each side, in parts of the box."""


def _u(count: int, low: float, high: float, device: torch.device) -> Tensor:
    return torch.rand(count, device=device) * (high - low) + low


def _maybe(count: int, chance: float, device: torch.device) -> Tensor:
    return torch.rand(count, device=device) < chance


def _signed(count: int, low: float, high: float, device: torch.device) -> Tensor:
    sign = torch.where(_maybe(count, 0.5, device), 1.0, -1.0)
    return _u(count, low, high, device) * sign


def slanted(corners: Tensor, rise: Tensor, *, width: Tensor | float = 1.0) -> Tensor:
    """Corners (B, 4, 2) about the origin with y moved by `rise` (B,) over their `width`."""
    x, y = corners.unbind(-1)
    per_width = rise / width
    return torch.stack((x, y + x * per_width[:, None]), -1)


def homography(source: Tensor, target: Tensor) -> Tensor:
    """(B, 4, 2) -> (B, 4, 2) point pairs -> (B, 3, 3) matrices taking source to target."""
    x, y = source.unbind(-1)
    u, v = target.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    top = torch.stack((x, y, one, zero, zero, zero, -u * x, -u * y), -1)
    low = torch.stack((zero, zero, zero, x, y, one, -v * x, -v * y), -1)
    # solve_ex neither waits for the device nor stops the run at a degenerate quadrilateral.
    solved, _ = torch.linalg.solve_ex(torch.cat((top, low), 1), torch.cat((u, v), 1)[..., None])
    solved = torch.nan_to_num(solved[..., 0], 0.0, 1e3, -1e3)
    return torch.cat((solved, torch.ones_like(solved[:, :1])), 1).reshape(-1, 3, 3)


def unit_corners(count: int, device: torch.device) -> Tensor:
    """(B, 4, 2) corners of the unit square, clockwise from the top left."""
    return (
        torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]], device=device).expand(count, 4, 2).clone()
    )


def rectified_corners(aspect: Tensor) -> Tensor:
    """Where a rectified plate's corners land in the crop (0..1) when the detector's corners are
    off.
    """
    count, device = aspect.shape[0], aspect.device
    margin = torch.tensor([MARGIN_X, MARGIN_Y], device=device)
    corners = unit_corners(count, device) * (1 - 2 * margin) + margin
    # Half of the detector's corners are within 1.2 % of the width, one in twenty is 5 % off.
    heavy = torch.where(_maybe(count, 0.25, device), _u(count, 1.5, 3.5, device), 1.0)[:, None]
    per_height = (aspect.clamp(1, 4.5) * 0.015).clamp(max=0.055)
    sigma = torch.stack((torch.full_like(aspect, 0.014), per_height), -1) * heavy
    shift = torch.randn(count, 1, 2, device=device) * sigma[:, None] * 0.8
    scale = 1 + torch.randn(count, 1, 2, device=device) * sigma[:, None] * 1.2
    noise = torch.randn(count, 4, 2, device=device) * sigma[:, None]
    corners = (corners - 0.5) * scale
    # Corners that are little more than a box leave a slant behind, and letters that lean.
    rise = torch.randn(count, device=device) * 0.04
    rise = torch.where(_maybe(count, 0.13, device), _signed(count, 0.1, 0.55, device), rise)
    lean = torch.randn(count, device=device) * 0.02
    lean = torch.where(_maybe(count, 0.1, device), _signed(count, 0.02, 0.12, device), lean)
    low = corners * torch.stack((1 - lean.abs(), 1 / (1 + rise.abs())), -1)[:, None]
    low = slanted(low, rise / (1 + rise.abs()))
    x, y = low.unbind(-1)
    low = torch.stack((x + y * lean[:, None], y), -1)
    return (low + 0.5 + shift + noise.clamp(-0.22, 0.22)).float()


def boxed_corners(aspect: Tensor) -> Tensor:
    """Corners of a tilted plate in a crop of its upright box, as annotations without corners
    give it.
    """
    count, device = aspect.shape[0], aspect.device
    squash = torch.where(_maybe(count, 0.5, device), _u(count, 0.42, 1.0, device), 1.0)
    wide = (aspect * squash).clamp(min=0.8)
    corners = unit_corners(count, device) - 0.5
    corners = corners * torch.stack((wide, torch.ones_like(wide)), -1)[:, None]
    spread = torch.where(_maybe(count, 0.2, device), 13.0, 5.0)
    angle = (torch.randn(count, device=device) * spread * math.pi / 180).clamp(-0.42, 0.42)
    rise = torch.randn(count, device=device) * 0.08
    rise = torch.where(_maybe(count, 0.35, device), _signed(count, 0.1, 0.9, device), rise)
    corners = slanted(corners, rise, width=wide)
    shear = torch.randn(count, device=device) * 0.1
    x = corners[..., 0] + corners[..., 1] * shear[:, None]
    y = corners[..., 1]
    keystone = 1 + torch.randn(count, device=device)[:, None] * 0.05 * torch.sign(x)
    y = y * keystone
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    corners = torch.stack((x * cos - y * sin, x * sin + y * cos), -1)
    low, high = corners.amin(1, keepdim=True), corners.amax(1, keepdim=True)
    pad = _u(count * 2, -0.02, 0.13, device).reshape(count, 1, 2)
    loose = torch.where(_maybe(count, 0.15, device), 2.0, 1.0)[:, None, None]
    low, high = low - pad * (high - low) * loose, high + pad * (high - low) * loose
    shift = torch.randn(count, 1, 2, device=device) * 0.015
    return ((corners - low) / (high - low) + shift).float()


def real_corners(count: int, device: torch.device) -> Tensor:
    """Where the corners of an annotated box land: widened by about 10 %, now and then much
    looser, tilted a little.
    """
    corners = unit_corners(count, device)
    pad = _u(count * 2, -0.015, 0.12, device).reshape(count, 1, 2)
    corners = (corners + pad) / (1 + 2 * pad) - 0.5
    angle = (torch.randn(count, device=device) * math.radians(3.5)).clamp(-0.2, 0.2)[:, None]
    shear = torch.randn(count, device=device) * 0.08
    shear = torch.where(_maybe(count, 0.12, device), _signed(count, 0.1, 0.35, device), shear)
    shear = shear[:, None]
    x, y = corners.unbind(-1)
    x, y = x + y * shear * 0.4, y + x * shear
    corners = torch.stack(
        (x * angle.cos() - y * angle.sin() * 0.4, y * angle.cos() + x * angle.sin() * 2.5), -1
    )
    noise = torch.randn(count, 4, 2, device=device) * torch.tensor([0.012, 0.03], device=device)
    shift = torch.randn(count, 1, 2, device=device) * torch.tensor([0.015, 0.025], device=device)
    return (corners + 0.5 + noise + shift).float()


def rectangle(inner: Tensor, count: int) -> Tensor:
    """x0 y0 x1 y1 -> (count, 4, 2) corners."""
    low, high = inner[:2], inner[2:]
    return unit_corners(count, inner.device) * (high - low) + low


def sample_quad(
    texture: Tensor, corners: Tensor, source: Tensor, *, padding: str
) -> tuple[Tensor, Tensor]:
    """Warp textures (B, 3, h, w) so that their quads `source` (B, 4, 2; 0..1) land on `corners` of
    the crop.

    Returns the crop and a mask (B, 1, H, W) that is 1 inside the quad.
    """
    count, device = texture.shape[0], texture.device
    ys, xs = torch.meshgrid(
        (torch.arange(OUT_H, device=device) + 0.5) / OUT_H,
        (torch.arange(OUT_W, device=device) + 0.5) / OUT_W,
        indexing="ij",
    )
    points = torch.stack((xs, ys, torch.ones_like(xs)), -1).reshape(-1, 3)
    mapped = points @ homography(corners, source).transpose(1, 2)
    place = mapped[..., :2] / mapped[..., 2:].clamp(min=1e-3)
    crop = functional.grid_sample(
        texture,
        (place * 2 - 1).reshape(count, OUT_H, OUT_W, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    if padding == "border":
        return crop, torch.ones_like(crop[:, :1])
    # A texture without surroundings: its quad is all of it.
    edge = torch.minimum(place, 1 - place).amin(-1).reshape(count, 1, OUT_H, OUT_W)
    return crop, (edge * 60 + 0.5).clamp(0, 1)
