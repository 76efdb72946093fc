"""Sampling of mip-mapped banks, and pasting of flat plates by homography."""

from __future__ import annotations

import torch
from torch import Tensor

from engines.training.detector_bank import LEVELS, Bank

PATCHES = ((40, 24), (96, 56), (224, 144), (640, 384))


def unpack(words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """int32 RGBA words -> four half precision planes 0..255 (half holds these exactly)."""
    return (
        (words & 255).half(),
        ((words >> 8) & 255).half(),
        ((words >> 16) & 255).half(),
        ((words >> 24) & 255).half(),
    )


def bilinear(
    words: Tensor, offset: Tensor, width: Tensor, height: Tensor, u: Tensor, v: Tensor
) -> Tensor:
    """RGBA (..., 4) in 0..1 at level pixels (u, v), clamped to the picture's edge.

    Tables broadcast.
    """
    u = torch.minimum(u.clamp(min=0.0), (width - 1).float())
    v = torch.minimum(v.clamp(min=0.0), (height - 1).float())
    u0, v0 = u.floor(), v.floor()
    fu, fv = u - u0, v - v0
    left, top = u0.long(), v0.long()
    right = torch.minimum(left + 1, width - 1)
    below = torch.minimum(top + 1, height - 1)
    row0 = offset + top * width
    row1 = offset + below * width
    total = None
    for index, weight in (
        (row0 + left, (1 - fu) * (1 - fv)),
        (row0 + right, fu * (1 - fv)),
        (row1 + left, (1 - fu) * fv),
        (row1 + right, fu * fv),
    ):
        part = torch.stack(unpack(words[index]), -1) * weight[..., None].half()
        total = part if total is None else total + part
    return total.float() * (1.0 / 255.0)


def level_tables(bank: Bank, picture: Tensor, lod: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """offset, width, height (each like `picture`) of the nearest mip level, and that.

    Level's scale.
    """
    level = lod.round().clamp(0, LEVELS - 1).long()
    take = (picture, level)
    scale = bank.width[take].float() / bank.width[picture, 0].float()
    return bank.offset[take], bank.width[take], bank.height[take], scale


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


def paste(canvas: Tensor, bank: Bank, item: dict[str, Tensor]) -> None:
    """Blend flat pictures onto canvas (B, H, W, 3) in place.

    item: image (P,) canvas index; picture (P,) bank index; quad (P, 4, 2) px; gain and lift (P, 3);
    ramp (P, 2) shading across and down; shadow (P, 3) a darkened half plane (nx, ny, strength);
    blur (P,) mip levels too coarse; frame (P, 4) margin as a share of the width, and its colour.
    """
    height, width = canvas.shape[1:3]
    flat = canvas.view(-1, 3)
    quad = item["quad"]
    low, high = quad.amin(1), quad.amax(1)
    margin = item["frame"][:, 0] * (high[:, 0] - low[:, 0]) + 2
    low, high = (low - margin[:, None]).floor(), (high + margin[:, None]).ceil()
    extent = high - low
    inverse = homography(quad)
    length = (quad[:, 1] - quad[:, 0]).norm(dim=-1) * 0.5 + (quad[:, 2] - quad[:, 3]).norm(
        dim=-1
    ) * 0.5
    lod = torch.log2(bank.width[item["picture"], 0].float() / length.clamp(min=1.0)) + item["blur"]
    offset, level_w, level_h, _ = level_tables(bank, item["picture"], lod)
    done = torch.zeros_like(item["image"], dtype=torch.bool)
    for patch_w, patch_h in PATCHES:
        fits = (extent[:, 0] <= patch_w) & (extent[:, 1] <= patch_h) & ~done
        if (patch_w, patch_h) == PATCHES[-1]:
            fits = ~done
        done = done | fits
        chosen = fits.nonzero()[:, 0]
        for part in chosen.split(max(1, 4_000_000 // (patch_w * patch_h))):
            if len(part) == 0:
                continue
            rows = torch.arange(patch_h, device=canvas.device)
            columns = torch.arange(patch_w, device=canvas.device)
            px = low[part, 0, None, None] + columns[None, None, :]
            py = low[part, 1, None, None] + rows[None, :, None]
            cx, cy = px + 0.5, py + 0.5
            m = inverse[part][:, :, :, None, None]
            w = m[:, 2, 0] * cx + m[:, 2, 1] * cy + m[:, 2, 2]
            s = (m[:, 0, 0] * cx + m[:, 0, 1] * cy + m[:, 0, 2]) / w
            t = (m[:, 1, 0] * cx + m[:, 1, 1] * cy + m[:, 1, 2]) / w
            lw, lh = level_w[part, None, None], level_h[part, None, None]
            colour = bilinear(
                bank.words, offset[part, None, None], lw, lh, s * lw - 0.5, t * lh - 0.5
            )
            rgb, alpha = colour[..., :3], colour[..., 3]
            # edge coverage: distance to the border in canvas pixels
            size_x = length[part, None, None]
            size_y = size_x * (level_h[part].float() / level_w[part].float())[:, None, None]
            inside_x = torch.minimum(s, 1 - s) * size_x + 0.5
            inside_y = torch.minimum(t, 1 - t) * size_y + 0.5
            edge = inside_x.clamp(0, 1) * inside_y.clamp(0, 1)
            alpha = alpha * edge
            frame = item["frame"][part][:, :, None, None]
            rim = frame[:, 0] * size_x
            around = (inside_x + rim).clamp(0, 1) * (inside_y + rim).clamp(0, 1) * (frame[:, 0] > 0)
            rgb = rgb * alpha[..., None] + frame[:, 1:].permute(0, 2, 3, 1) * (1 - alpha[..., None])
            cover = torch.where(frame[:, 0] > 0, torch.maximum(around, alpha), alpha)
            rgb = torch.where((frame[:, 0] > 0)[..., None], rgb, colour[..., :3])
            ramp = item["ramp"][part][:, :, None, None]
            light = 1 + ramp[:, 0] * (s - 0.5) + ramp[:, 1] * (t - 0.5)
            shadow = item["shadow"][part][:, :, None, None]
            dark = torch.sigmoid((shadow[:, 0] * (s - 0.5) + shadow[:, 1] * (t - 0.5)) * 12.0)
            light = light * (1 - shadow[:, 2] * dark)
            rgb = (
                rgb * light[..., None] * item["gain"][part][:, None, None, :]
                + item["lift"][part][:, None, None, :]
            )
            seen = (px >= 0) & (px < width) & (py >= 0) & (py < height) & (w > 0)
            cover = cover * seen * ((px - low[part, 0, None, None]) <= extent[part, 0, None, None])
            index = item["image"][part, None, None] * (height * width)
            index = (
                index + py.clamp(0, height - 1).long() * width + px.clamp(0, width - 1).long()
            ).reshape(-1)
            delta = (rgb.clamp(0, 1) - flat[index].view_as(rgb)) * cover[..., None]
            flat.index_add_(0, index, delta.view(-1, 3))
