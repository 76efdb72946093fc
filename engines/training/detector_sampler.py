"""Sampling of mip-mapped banks, and pasting of flat plates by homography."""

from __future__ import annotations

import torch
from torch import Tensor

from engines.training.detector_bank import LEVELS, Bank

PATCHES = ((40, 24), (96, 56), (224, 144), (384, 232), (640, 384))
PATCH_PIXELS = 40_000_000  # blended at once on a large card; a tenth of it on a processor


def bilinear(
    words: Tensor, offset: Tensor, width: Tensor, height: Tensor, u: Tensor, v: Tensor
) -> Tensor:
    """RGBA (..., 4) in 0..255, half precision, at level pixels (u, v), clamped to the picture.

    `width` and `height` are whole numbers in float; tables broadcast.
    """
    u = torch.minimum(u.clamp(min=0.0), width - 1)
    v = torch.minimum(v.clamp(min=0.0), height - 1)
    left, top = u.long(), v.long()
    fu, fv = u - left, v - top
    stride = width.long()
    first = torch.addcmul(offset + left, top, stride)
    beside = (left + 1 < stride).long()
    below = (top + 1 < height) * stride
    index = torch.stack([first, first + beside, first + below, first + beside + below])
    both = fu * fv
    weight = torch.stack([1 - fu - fv + both, fu - both, fv - both, both]).half()
    # an int32 word holds R, G, B, A from its lowest byte up; half holds 0..255 exactly
    pixels = words[index].view(torch.uint8).view(*index.shape, 4)
    return (pixels * weight[..., None]).sum(0)


def level_tables(bank: Bank, picture: Tensor, lod: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """offset (int64), width, height (float), each like `picture`, of the nearest mip level, and

    that level's scale.
    """
    level = lod.round().clamp(0, LEVELS - 1).long()
    width = bank.width[picture, level].float()
    scale = width / bank.width[picture, 0]
    return bank.offset[picture, level], width, bank.height[picture, level].float(), scale


def homography(quad: Tensor) -> Tensor:
    """The map from pixels to the unit square for quads (P, 4, 2) clockwise from top left.

    (P, 3, 3).
    """
    x, y = quad[..., 0], quad[..., 1]
    # the classic closed form of square -> quad, inverted
    dx1, dx2, sx = x[:, 1] - x[:, 2], x[:, 3] - x[:, 2], x[:, 0] - x[:, 1] + x[:, 2] - x[:, 3]
    dy1, dy2, sy = y[:, 1] - y[:, 2], y[:, 3] - y[:, 2], y[:, 0] - y[:, 1] + y[:, 2] - y[:, 3]
    area = dx1 * dy2 - dx2 * dy1
    area = torch.where(area.abs() < 1e-6, torch.full_like(area, 1e-6), area)
    g = (sx * dy2 - dx2 * sy) / area
    h = (dx1 * sy - sx * dy1) / area
    forward = torch.stack(
        [
            x[:, 1] - x[:, 0] + g * x[:, 1], x[:, 3] - x[:, 0] + h * x[:, 3], x[:, 0],
            y[:, 1] - y[:, 0] + g * y[:, 1], y[:, 3] - y[:, 0] + h * y[:, 3], y[:, 0],
            g, h, torch.ones_like(g),
        ],
        -1,
    ).reshape(-1, 3, 3)  # fmt: skip
    a, b, c, d, e, f = (
        forward[:, i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2))
    )
    return torch.stack(
        [
            e - f * h, c * h - b, b * f - c * e,
            f * g - d, a - c * g, c * d - a * f,
            d * h - e * g, b * g - a * h, a * e - b * d,
        ],
        -1,
    ).reshape(-1, 3, 3)  # fmt: skip


def paste(canvas: Tensor, bank: Bank, item: dict[str, Tensor], ok: Tensor) -> None:
    """Blend flat pictures onto canvas (B, H, W, 3) in place, those that `ok` (P,) names.

    item: image (P,) canvas index; picture (P,) bank index; quad (P, 4, 2) px; gain and lift (P, 3);
    ramp (P, 2) shading across and down; shadow (P, 3) a darkened half plane (nx, ny, strength);
    blur (P,) mip levels too coarse; frame (P, 4) margin as a share of the width, and its colour.
    """
    quad = item["quad"]
    low, high = quad.amin(1), quad.amax(1)
    margin = item["frame"][:, :1] * (high - low)[:, :1] + 2
    # what leaves the picture needs no pixels
    edge = torch.tensor([canvas.shape[2], canvas.shape[1]], device=canvas.device)
    low = (low - margin).floor().clamp(min=0)
    high = torch.minimum((high + margin).ceil(), edge)
    extent = high - low
    length = (quad[:, 1] - quad[:, 0] + quad[:, 2] - quad[:, 3]).norm(dim=-1) * 0.5
    lod = torch.log2(bank.width[item["picture"], 0].float() / length.clamp(min=1.0)) + item["blur"]
    offset, level_w, level_h, _ = level_tables(bank, item["picture"], lod)
    table = torch.cat(
        [
            homography(quad).flatten(1), low, extent[:, :1], level_w[:, None], level_h[:, None],
            length[:, None], (length * level_h / level_w)[:, None], item["frame"], item["ramp"],
            item["shadow"], item["gain"], item["lift"],
        ],
        1,
    )  # fmt: skip
    limits = torch.tensor(PATCHES[:-1], device=canvas.device)
    bucket = (extent[:, None] > limits).any(-1).sum(1)
    bucket = torch.where(ok, bucket, len(PATCHES))
    order = torch.argsort(bucket)
    # the only place in composing where the host waits for the device
    counts = torch.bincount(bucket, minlength=len(PATCHES) + 1)[:-1].tolist()
    groups = order[: sum(counts)].split(counts)
    for patch, group in zip(PATCHES, groups, strict=True):
        at_once = PATCH_PIXELS if canvas.is_cuda else PATCH_PIXELS // 10
        for part in group.split(max(1, at_once // (patch[0] * patch[1]))):
            if len(part):
                _blend(canvas, bank, patch, (item["image"][part], offset[part], table[part]))


def _blend(
    canvas: Tensor, bank: Bank, patch: tuple[int, int], rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Blend things that fit one patch size."""
    height, width = canvas.shape[1:3]
    flat = canvas.view(-1, 3)
    image, offset, table = rows
    image, offset = image[:, None, None], offset[:, None, None]
    column = table.t()[:, :, None, None].unbind(0)
    m, (left, top, wide, lw, lh, size_x, size_y) = column[:9], column[9:16]
    rim, ramp_x, ramp_y = column[16] * size_x, column[20], column[21]
    shadow_x, shadow_y, shadow = column[22:25]
    frame, gain, lift = (table[:, None, None, a : a + 3] for a in (17, 25, 28))
    px = left + torch.arange(patch[0], device=canvas.device)
    py = top + torch.arange(patch[1], device=canvas.device)[:, None]
    cx, cy = px + 0.5, py + 0.5
    w = m[6] * cx + (m[7] * cy + m[8])
    s = ((m[0] * cx + (m[1] * cy + m[2])) / w).nan_to_num(-9.0, -9.0, -9.0)
    t = ((m[3] * cx + (m[4] * cy + m[5])) / w).nan_to_num(-9.0, -9.0, -9.0)
    colour = bilinear(bank.words, offset, lw, lh, s * lw - 0.5, t * lh - 0.5).float() * (1 / 255)
    own, alpha = colour[..., :3], colour[..., 3]
    # edge coverage: distance to the border in canvas pixels
    inside_x = 0.5 + torch.minimum(s, 1 - s) * size_x
    inside_y = 0.5 + torch.minimum(t, 1 - t) * size_y
    alpha = alpha * inside_x.clamp(0, 1) * inside_y.clamp(0, 1)
    framed = rim > 0
    around = (inside_x + rim).clamp(0, 1) * (inside_y + rim).clamp(0, 1) * framed
    rgb = torch.where(
        framed[..., None], torch.lerp(frame.expand_as(own), own, alpha[..., None]), own
    )
    cover = torch.maximum(around, alpha)
    s, t = s - 0.5, t - 0.5
    dark = torch.sigmoid((shadow_x * s + shadow_y * t) * 12.0)
    light = (1 + ramp_x * s + ramp_y * t) * (1 - shadow * dark)
    rgb = torch.addcmul(lift.expand_as(rgb), rgb * light[..., None], gain).clamp(0, 1)
    seen = (px >= 0) & (px < width) & (px - left <= wide) & (py >= 0) & (py < height) & (w > 0)
    place = py.clamp(0, height - 1).long() * width + px.clamp(0, width - 1).long()
    index = (image * (height * width) + place).reshape(-1)
    delta = (rgb - flat[index].view_as(rgb)) * (cover * seen)[..., None]
    flat.index_add_(0, index, delta.view(-1, 3))
