"""Batched augmentation of plate crops on the device, in plain torch: what cameras, weather and
detectors do to plates. The shapes are in reader_geometry.

Every function takes and gives (B, 3, H, W) float 0..1; randomness comes from the device's
default generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from engines.training.reader_geometry import OUT_H, OUT_W

SMALLEST_PX = 30.0
"""Narrowest crop that a camera delivers: the plate itself is 28 pixels wide then."""

NIGHT = 0.08
"""Share of crops that a dashcam takes at night."""

WIDTHS = math.log(160 / SMALLEST_PX)


def _u(count: int, low: float, high: float, device: torch.device) -> Tensor:
    return torch.rand(count, device=device) * (high - low) + low


def _maybe(count: int, chance: float, device: torch.device) -> Tensor:
    return torch.rand(count, device=device) < chance


def light(x: Tensor) -> Tensor:
    """Exposure, gamma, casts, infrared, shadows, glare, dirt."""
    count, device = x.shape[0], x.device

    def pick(chance: float) -> Tensor:
        return _maybe(count, chance, device)[:, None, None, None]

    def gain(low: float, high: float, channels: int = 1) -> Tensor:
        return _u(count * channels, low, high, device).reshape(count, channels, 1, 1)

    grey = x.mean(1, keepdim=True).expand_as(x)
    x = torch.where(pick(0.14), grey, x)
    weak = grey + (x - grey) * gain(0.2, 1.0)
    x = torch.where(pick(0.3), weak, x)
    x = torch.where(pick(0.05), x.flip(1), x)
    ys = torch.linspace(-1, 1, OUT_H, device=device)[None, None, :, None]
    xs = torch.linspace(-1, 1, OUT_W, device=device)[None, None, None, :]
    slope = 1 + gain(-0.3, 0.3) * xs + gain(-0.35, 0.35) * ys
    x = torch.where(pick(0.5), x * slope, x)
    cut = torch.sigmoid((xs * gain(-1, 1) + ys * gain(-1, 1) + gain(-0.6, 0.6)) * gain(5, 60))
    x = torch.where(pick(0.14), x * (1 - cut * gain(0.2, 0.65)), x)
    coarse = torch.rand(count, 1, 5, 9, device=device)
    noise = functional.interpolate(coarse, (OUT_H, OUT_W), mode="bicubic", align_corners=False)
    fine = functional.interpolate(
        torch.rand(count, 1, 16, 40, device=device),
        (OUT_H, OUT_W),
        mode="bilinear",
        align_corners=False,
    )
    dirt = ((noise * 0.6 + fine * 0.5 - gain(0.62, 0.85)) * 4).clamp(0, 0.8)
    x = torch.where(pick(0.1), x + dirt * (gain(0.05, 0.5, 3) - x), x)
    x = torch.where(pick(0.15), x * (0.75 + 0.5 * noise), x)
    # Exposure: contrast about a level, gamma, a gain that may burn out or drown.
    contrast = gain(0.35, 1.25)
    x = torch.where(pick(0.4), (x - 0.5) * contrast + 0.5 + gain(-0.25, 0.25), x)
    x = torch.where(pick(0.5), x.clamp(0.001, 1) ** gain(0.5, 2.2), x)
    cast = gain(0.75, 1.2, 3)
    strong = gain(0.3, 1.25, 3)
    pink = torch.stack(
        (
            torch.ones(count, device=device),
            _u(count, 0.2, 0.75, device),
            _u(count, 0.35, 0.9, device),
        ),
        1,
    )
    x = torch.where(pick(0.4), x * cast, x)
    x = torch.where(pick(0.08), x * strong, x)
    x = torch.where(
        pick(0.12), x * pink[:, :, None, None] + gain(0.0, 0.15) * pink[:, :, None, None], x
    )
    x = torch.where(pick(0.3), x * gain(0.25, 1.5), x)
    for chance, top in ((0.09, True), (0.07, False)):
        cx, cy = gain(-1, 1), gain(-1.3, -0.5) if top else gain(-1, 1)
        blob = torch.exp(-(((xs - cx) / gain(0.08, 0.6)) ** 2 + ((ys - cy) / gain(0.15, 0.8)) ** 2))
        x = torch.where(pick(chance), x + blob * gain(0.2, 0.9) * gain(0.8, 1.0, 3), x)
    haze = gain(0.05, 0.4)
    x = torch.where(pick(0.08), x * (1 - haze) + haze, x).clamp(0, 1)
    # What nobody could read teaches nothing: lift the flattest to a little contrast.
    mean = x.mean((1, 2, 3), keepdim=True)
    spread = x.std((1, 2, 3), keepdim=True)
    return (
        (x - mean) * (gain(0.05, 0.09) / (spread + 1e-4)).clamp(min=1.0) + mean.clamp(min=0.1)
    ).clamp(0, 1)


def night(x: Tensor, dark: Tensor) -> Tensor:
    """A dashcam at night where `dark` (B,): red to purple, the plate's lamps, ink that the lit
    ground outshines. What is brighter than white stays so until the blur has spread it.
    """
    count, device = x.shape[0], x.device

    def each(low: float, high: float) -> Tensor:
        return _u(count, low, high, device)[:, None, None, None]

    tint = torch.cat((each(0.65, 1.0), each(0.3, 0.85), each(0.4, 1.0)), 1)
    ground = each(0.3, 1.7)
    ink = ground.clamp(max=1.1) * each(0.2, 0.8)
    grey = x.mean(1, keepdim=True)
    spread = grey.std((2, 3), keepdim=True) + 0.02
    drawn = ((grey - grey.mean((2, 3), keepdim=True)) / spread * 0.3 + 0.6).clamp(0, 1.2)
    lit = ink + (ground - ink) * drawn + (x - grey) * 0.25
    ys = torch.linspace(0, 1, OUT_H, device=device)[None, None, :, None]
    xs = torch.linspace(0, 1, OUT_W, device=device)[None, None, None, :]
    for side in (each(0.1, 0.5), each(0.5, 0.9)):
        lamp = torch.exp(-(((xs - side) / each(0.03, 0.12)) ** 2 + (ys / each(0.06, 0.25)) ** 2))
        lit = lit + lamp * each(-0.5, 1.2).clamp(min=0)
    return torch.where(dark[:, None, None, None], lit * tint, x)


def occlude(x: Tensor) -> Tensor:
    """Thin bars (tow hooks, cables, wipers) and small specks: they hide parts of characters,
    never all of one.
    """
    count, device = x.shape[0], x.device
    ys = torch.linspace(0, 1, OUT_H, device=device)[None, :, None]
    xs = torch.linspace(0, 2.5, OUT_W, device=device)[None, None, :]
    angle = _u(count, 0, math.pi, device)[:, None, None]
    offset = _u(count, -0.9, 0.9, device)[:, None, None]
    distance = ((xs - 1.25) * angle.cos() + (ys - 0.5) * angle.sin() - offset).abs()
    bar = ((_u(count, 0.008, 0.035, device)[:, None, None] - distance) * 60 + 0.5).clamp(0, 1)
    bar = bar * _maybe(count, 0.05, device)[:, None, None]
    colour = torch.rand(count, 3, 1, 1, device=device)
    return x + bar[:, None] * (colour - x)


def blur(x: Tensor, strength: Tensor, least: Tensor) -> Tensor:
    """Per-sample Gaussian (focus) and line (motion) kernels; `strength` (B,) scales both, `least`
    (B,) is the smallest sigma.
    """
    count, device = x.shape[0], x.device
    size = 11
    r = torch.arange(size, device=device).float() - size // 2
    dy, dx = torch.meshgrid(r, r, indexing="ij")
    sigma = (
        torch.where(_maybe(count, 0.45, device), _u(count, 0.5, 2.6, device), 0.25) * strength
    ).maximum(least)
    kernel = torch.exp(-(dx**2 + dy**2)[None] / (2 * sigma[:, None, None] ** 2))
    angle = (
        torch.where(_maybe(count, 0.5, device), 0.0, math.pi)
        + torch.randn(count, device=device) * 0.6
    )
    angle = torch.where(_maybe(count, 0.3, device), _u(count, 0, math.pi, device), angle)
    along = dx[None] * angle.cos()[:, None, None] + dy[None] * angle.sin()[:, None, None]
    across = -dx[None] * angle.sin()[:, None, None] + dy[None] * angle.cos()[:, None, None]
    half = (_u(count, 1.0, 5.0, device) * strength)[:, None, None]
    line = torch.sigmoid((half - along.abs()) * 4) * torch.exp(-(across**2) / 0.6)
    moving = _maybe(count, 0.2, device)[:, None, None]
    kernel = torch.where(moving, line, kernel)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    weight = kernel[:, None].expand(count, 3, size, size).reshape(count * 3, 1, size, size)
    padded = functional.pad(x, (size // 2,) * 4, mode="replicate").reshape(
        1, count * 3, OUT_H + size - 1, OUT_W + size - 1
    )
    return functional.conv2d(padded, weight.to(padded.dtype), groups=count * 3).reshape(
        count, 3, OUT_H, OUT_W
    )


def _dct_matrix(device: torch.device) -> Tensor:
    k = torch.arange(8, device=device).float()
    matrix = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * 0.5
    matrix[0] = 1 / math.sqrt(8)
    return matrix


def blocks(x: Tensor, quality: Tensor) -> Tensor:
    """JPEG-like damage: 8x8 DCT of luma and (coarser) chroma, quantised by `quality` (B,) 0..1,
    1 = best.
    """
    count, _, h, w = x.shape
    ph, pw = -h % 8, -w % 8
    padded = functional.pad(x, (0, pw, 0, ph), mode="replicate") if ph or pw else x
    luma = padded.mean(1, keepdim=True)
    planes = torch.cat((luma, padded[:, :1] - luma, padded[:, 2:] - luma), 1)
    hh, ww = planes.shape[2:]
    tiles = planes.reshape(count, 3, hh // 8, 8, ww // 8, 8).permute(0, 1, 2, 4, 3, 5)
    dct = _dct_matrix(x.device)
    spectrum = dct @ tiles @ dct.T
    freq = torch.arange(8, device=x.device).float()
    ramp = 1 + (freq[:, None] + freq[None]) * 0.9
    step = (0.02 + (1 - quality) * 0.09)[:, None, None, None, None, None] * ramp
    step = step * torch.tensor([1.0, 2.0, 2.0], device=x.device)[None, :, None, None, None, None]
    spectrum = torch.round(spectrum / step) * step
    planes = (dct.T @ spectrum @ dct).permute(0, 1, 2, 4, 3, 5).reshape(count, 3, hh, ww)
    red, blue = planes[:, 1] + planes[:, 0], planes[:, 2] + planes[:, 0]
    green = 3 * planes[:, 0] - red - blue
    return torch.stack((red, green, blue), 1)[:, :, :h, :w].clamp(0, 1)


def camera(x: Tensor, *, low_res: bool) -> Tensor:
    """One chunk: shrink to what the camera had, add sensor noise and compression there, enlarge
    again.
    """
    count, device = x.shape[0], x.device
    if low_res:
        width = int(min(160, SMALLEST_PX * math.exp(float(torch.rand(1)) * WIDTHS)))
        height = int(min(max(width / (2.0 + 2.2 * float(torch.rand(1))), 11), 64))
        shrink = ("bilinear", "bicubic", "area")[int(torch.randint(3, (1,)))]
        smooth = {} if shrink == "area" else {"antialias": True, "align_corners": False}
        x = functional.interpolate(x, (height, width), mode=shrink, **smooth)
    h, w = x.shape[2:]
    level = torch.where(_maybe(count, 0.6, device), _u(count, 0.0, 0.09, device) ** 1.3, 0.0)[
        :, None, None, None
    ]
    mono = torch.randn(count, 1, h, w, device=device)
    level = level * min(1.0, 0.4 + w / 160)
    x = x + level * (0.6 * mono + 0.7 * torch.randn_like(x))
    peppered = _maybe(count, 0.12, device)[:, None, None, None]
    dots = torch.rand(count, 1, h, w, device=device)
    share = _u(count, 0.001, 0.03, device)[:, None, None, None]
    white = (torch.rand(count, 1, h, w, device=device) < 0.7).to(x.dtype)
    x = torch.where(peppered & (dots < share), white, x).clamp(0, 1)
    # Eight by eight blocks are a third of a small plate: there they may not be as coarse.
    spared = min(max((90 - w) / 100, 0.0), 0.6)
    damaged = blocks(x, spared + (1 - spared) * torch.rand(count, device=device) ** 0.5)
    x = torch.where(_maybe(count, 0.45, device)[:, None, None, None], damaged, x)
    if low_res:
        mode = ("bilinear", "bilinear", "bicubic", "nearest")[int(torch.randint(4, (1,)))]
        x = functional.interpolate(
            x, (OUT_H, OUT_W), mode=mode, **({} if mode == "nearest" else {"align_corners": False})
        )
    return x.clamp(0, 1)


def degrade(
    x: Tensor,
    strength: Tensor,
    *,
    low_res: float,
    chunks: int = 8,
    lit: Callable[[Tensor], Tensor] = light,
) -> Tensor:
    """The whole chain after geometry. `strength` (B,) 0..1 weakens the blur (real crops are
    already blurred); `low_res` is the share of chunks that pass through a smaller picture; `lit`
    is `light` or its compiled self.
    """
    x = occlude(lit(x))
    dark = _maybe(len(x), NIGHT, x.device)
    least = torch.where(dark, _u(len(x), 0.6, 2.1, x.device) * strength.clamp(min=0.5), 0.2)
    x = blur(night(x, dark), strength, least).clamp(0, 1)
    parts = [camera(part, low_res=bool(torch.rand(1) < low_res)) for part in x.chunk(chunks)]
    x = torch.cat(parts)
    sharpened = x + (x - functional.avg_pool2d(x, 3, 1, 1)) * 1.2
    keen = _maybe(x.shape[0], 0.1, x.device)[:, None, None, None]
    return torch.where(keen, sharpened, x).clamp(0, 1)
