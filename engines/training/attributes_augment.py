"""What happens to a vehicle's crop before the net sees it, on the device, labels included.

A colour cast falls on the vehicle and its surroundings alike, so the label stays: the net has to
take the surroundings into account. What no longer shows colour (grey, infrared, too dark, one
lamp's light) is taught as unknown. Paint is exchanged on white and silver vehicles only inside
their box: that is another vehicle, with another label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engines.training.attributes_labels import COLOURS, UNKNOWN
from engines.training.attributes_net import MARGIN, SIDE_PX
from engines.training.detector_photo import Dice, degrade

GREY = 114 / 255
ROOM = 1.5
"""Of the stored crops, over the longer side of the box."""

PAINTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "black": ((0.05, 0.05, 0.06), (0.09, 0.09, 0.10), (0.07, 0.07, 0.09)),
    "gray": ((0.30, 0.31, 0.32), (0.38, 0.38, 0.40), (0.26, 0.28, 0.31)),
    "red": ((0.75, 0.08, 0.08), (0.85, 0.12, 0.10), (0.62, 0.05, 0.07)),
    "maroon": ((0.35, 0.06, 0.09), (0.42, 0.08, 0.12), (0.30, 0.05, 0.06)),
    "blue": ((0.08, 0.18, 0.55), (0.15, 0.35, 0.75), (0.05, 0.10, 0.32), (0.3, 0.5, 0.8)),
    "green": ((0.08, 0.40, 0.18), (0.15, 0.55, 0.20), (0.05, 0.25, 0.15), (0.45, 0.65, 0.3)),
    "yellow": ((0.95, 0.80, 0.10), (0.90, 0.75, 0.20), (1.0, 0.85, 0.3)),
    "orange": ((0.95, 0.45, 0.05), (0.90, 0.35, 0.08), (0.85, 0.42, 0.12)),
    "brown": ((0.32, 0.20, 0.12), (0.25, 0.15, 0.10), (0.40, 0.27, 0.17)),
    "beige": ((0.80, 0.70, 0.50), (0.72, 0.62, 0.45), (0.84, 0.76, 0.60)),
}
KEEP, FORGET, SKIP = 0, 1, 2
"""What became of the colour's label: kept, unknown, not to be taught."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """Where each crop's vehicle lies, in parts of the crop: box and inside (B, 4) x1 y1 x2 y2."""

    images: Tensor
    box: Tensor
    inside: Tensor


def _grid(centre: Tensor, side: Tensor, angle: Tensor, flip: Tensor) -> Tensor:
    """Sampling places (B, S, S, 2) in parts of the stored crop."""
    axis = (torch.arange(SIDE_PX, device=centre.device) + 0.5) / SIDE_PX - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y = x[None] * flip[:, None, None], y[None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    u = (x * cos - y * sin) * side[:, :1, None] + centre[:, :1, None]
    v = (x * sin + y * cos) * side[:, 1:, None] + centre[:, 1:, None]
    return torch.stack([u, v], -1)


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        images, grid * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False
    )


def _outside(grid: Tensor, inside: Tensor) -> Tensor:
    """Which samples (B, 1, S, S) lie beyond the photograph, or beyond what was stored."""
    low = (grid < inside[:, None, None, :2]).any(-1)
    high = (grid > inside[:, None, None, 2:]).any(-1)
    return (low | high)[:, None]


def plain(views: Views) -> Tensor:
    """The crops as the daemon cuts them (B, 3, S, S)."""
    centre = (views.box[:, :2] + views.box[:, 2:]) / 2
    side = (views.box[:, 2:] - views.box[:, :2]).amax(1, keepdim=True).expand(-1, 2) * MARGIN
    ones = torch.ones(len(centre), device=centre.device)
    grid = _grid(centre, side, ones * 0, ones)
    return torch.where(_outside(grid, views.inside), GREY, _sample(views.images, grid))


def repaint(views: Views, chosen: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Give the white and silver vehicles `chosen` (B,) another paint: images, labels (B,).

    Where the pixel is bright and grey it is body; glass, tyres and lamps mostly are not.
    """
    images, count = views.images, len(views.images)
    names = [name for name, paints in PAINTS.items() for _ in paints]
    table = torch.tensor([paint for paints in PAINTS.values() for paint in paints])
    table = table.to(images.device)
    # every colour as often as another, however many paints it has
    weights = torch.tensor([1.0 / len(PAINTS[name]) for name in names], device=images.device)
    pick = torch.multinomial(weights, count, replacement=True, generator=dice.generator)
    paint = (table[pick] * torch.exp(dice.normal(count, 3) * 0.07)).clamp(0.02, 1)[..., None, None]
    side = images.shape[-1]
    axis = (torch.arange(side, device=images.device) + 0.5) / side
    low, high = views.box[:, :2, None], views.box[:, 2:, None]
    edge = torch.minimum(axis - low, high - axis) * side / 3
    within = edge.clamp(0, 1)
    far = ((axis - (low + high) / 2) * 2 / (high - low)).abs() ** 3
    round_off = ((1.05 - far[:, 0, None, :] - far[:, 1, :, None]) * 5).clamp(0, 1)
    mask = within[:, 0, None, :] * within[:, 1, :, None] * round_off
    luma = images.mean(1)
    chroma = images.amax(1) - images.amin(1)
    flat = torch.where(mask > 0.5, luma, torch.nan)[:, ::4, ::4].flatten(1)
    bright = torch.nan_to_num(flat.nanquantile(0.85, dim=1), nan=0.7)[:, None, None].clamp(min=0.2)
    body = torch.sigmoid((luma / bright - 0.62) * 14) * torch.sigmoid((0.2 - chroma) * 30) * mask
    shade = (luma / bright)[:, None].clamp(0, 1.6)
    gloss = (shade - 0.9).clamp(min=0) * dice.uniform(count, 1, 1, 1, low=0.2, high=0.7)
    painted = paint * shade + gloss
    # the cast that the photograph's white has, the paint gets too
    tint = images.flatten(2) * body.flatten(1)[:, None]
    tint = tint.sum(2) / (body.flatten(1).sum(1)[:, None] + 1e-3)
    tint = tint / tint.mean(1, keepdim=True).clamp(min=0.05)
    painted = (painted * tint[..., None, None]).clamp(0, 1)
    share = (body * chosen[:, None, None])[:, None]
    labels = torch.tensor([COLOURS.index(name) for name in names], device=images.device)[pick]
    return images * (1 - share) + painted * share, labels


def _light(x: Tensor, dice: Dice, strength: float) -> tuple[Tensor, Tensor]:
    """Exposure, casts, grey, infrared, night; and what became of the colour (B,)."""
    n, device = len(x), x.device
    roll = dice.uniform(n) / strength
    grey = roll < 0.09
    infrared = (roll >= 0.09) & (roll < 0.15)
    tinted = (roll >= 0.15) & (roll < 0.19)
    night = (roll >= 0.19) & (roll < 0.28)
    lamp = (roll >= 0.28) & (roll < 0.33)
    pale = (roll >= 0.33) & (roll < 0.37)
    fate = torch.full((n,), KEEP, device=device)

    def each(low: float, high: float) -> Tensor:
        return dice.uniform(n, low=low, high=high)

    gamma = torch.exp(each(-0.3, 0.3) * strength)
    gamma = torch.where(night, gamma * each(1.2, 2.2), gamma)
    gain = torch.exp(each(-0.35, 0.3) * strength)
    gain = torch.where(night, gain * each(0.25, 0.9), gain)
    contrast = torch.exp(each(-0.35, 0.25) * strength)
    x = x.clamp(1e-3, 1) ** gamma[:, None, None, None]
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * contrast[:, None, None, None] + mean
    # colour weights of the sensor: luma for grey, anything for infrared (leaves shine, cloth too)
    luma = torch.tensor((0.299, 0.587, 0.114), device=device).expand(n, 3)
    odd = torch.softmax(dice.normal(n, 3) * 1.2, 1)
    weights = torch.where((infrared | tinted)[:, None], odd, luma)
    mono = (x * weights[..., None, None]).sum(1, keepdim=True)
    saturation = 1 + each(-0.45, 0.4) * strength
    saturation = torch.where(pale, each(0.04, 0.35), saturation)
    none = grey | infrared | tinted
    saturation = torch.where(none, torch.zeros_like(saturation), saturation)
    saturation = torch.where(night, saturation * each(0.3, 1.0), saturation)
    x = mono + (x - mono) * saturation[:, None, None, None]
    # a lamp from one side, as infrared lamps light
    axis = torch.linspace(-1, 1, x.shape[-1], device=device)
    spot = torch.exp(
        -((axis[None, None] - each(-0.6, 0.6)[:, None, None]) ** 2
          + (axis[None, :, None] - each(-0.5, 0.8)[:, None, None]) ** 2)
        / each(0.3, 1.5)[:, None, None]
    )  # fmt: skip
    lit = (0.25 + 1.2 * spot)[:, None]
    x = torch.where((infrared & (each(0, 1) < 0.6))[:, None, None, None], x * lit, x)
    cast = dice.normal(n, 3) * 0.10 * strength * dice.chance(0.75, n, 1)
    warm = torch.tensor((0.45, 0.0, -0.75), device=device) * each(0.3, 1.5)[:, None]
    cool = dice.normal(n, 3) * 0.45
    strong = torch.where(dice.chance(0.5, n, 1), warm, cool)
    cast = torch.where((lamp | tinted)[:, None], strong, cast)
    cast = torch.where(night[:, None], cast + warm * 0.35 * each(0, 1)[:, None], cast)
    cast = torch.where((grey | infrared)[:, None], torch.zeros_like(cast), cast)
    spread = cast.amax(1) - cast.amin(1)
    x = x * (torch.exp(cast - cast.mean(1, keepdim=True)) * gain[:, None])[..., None, None]
    shown = x.clamp(0, 1).mean((1, 2, 3))
    forget = none | (lamp & (spread > 1.1)) | (shown < 0.07)
    skip = (lamp & (spread > 0.6)) | pale | (shown < 0.13) | (night & (saturation < 0.4))
    fate = torch.where(skip, torch.full_like(fate, SKIP), fate)
    fate = torch.where(forget, torch.full_like(fate, FORGET), fate)
    return x, fate


def _cover(x: Tensor, dice: Dice) -> Tensor:
    """Something stands before a part of the vehicle: another crop of the batch, or plain."""
    n, _, height, width = x.shape
    size = torch.exp(dice.uniform(n, 2, low=math.log(0.08), high=math.log(0.42)))
    centre = dice.uniform(n, 2)
    ys = (torch.arange(height, device=x.device) + 0.5) / height
    xs = (torch.arange(width, device=x.device) + 0.5) / width
    across = (xs[None] - centre[:, :1]).abs() < size[:, :1] / 2
    along = (ys[None] - centre[:, 1:]).abs() < size[:, 1:] / 2
    hidden = (across[:, None, :] & along[:, :, None])[:, None]
    hidden = hidden & dice.chance(0.25, n, 1, 1, 1)
    plain_colour = dice.uniform(n, 3, 1, 1).expand_as(x)
    other = torch.where(dice.chance(0.6, n, 1, 1, 1), x.flip(0), plain_colour)
    return torch.where(hidden, other, x)


def augmented(views: Views, dice: Dice, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Crops as cameras and detectors deliver them (B, 3, S, S), and each colour label's fate.

    `strength` in (0, 1] holds back the light: how far it goes, and how often a colour is lost.
    """
    n, device = len(views.images), views.images.device
    centre = (views.box[:, :2] + views.box[:, 2:]) / 2
    extent = views.box[:, 2:] - views.box[:, :2]
    side = extent.amax(1, keepdim=True)
    scale = MARGIN * torch.exp(dice.uniform(n, 1, low=-0.12, high=0.16))
    stretch = torch.exp(dice.uniform(n, 1, low=-0.07, high=0.07))
    size = side * scale * torch.cat([stretch, 1 / stretch], 1)
    centre = centre + dice.normal(n, 2) * 0.035 * extent
    angle = dice.normal(n) * 0.04
    flip = torch.where(dice.chance(0.5, n), -1.0, 1.0)
    grid = _grid(centre, size, angle, flip)
    x = _sample(views.images, grid)
    beyond = _outside(grid, views.inside)
    # the picture's border may cut a vehicle anywhere
    edge = dice.uniform(n, low=0.04, high=0.3) * SIDE_PX
    axis = torch.arange(SIDE_PX, device=device).float()
    which = dice.integers(4, n)
    strips = torch.stack([axis[None] < edge[:, None], axis[None] >= SIDE_PX - edge[:, None]])
    low, high = strips[0], strips[1]
    band_x = torch.where((which == 0)[:, None], low, high & (which == 1)[:, None])
    band_y = torch.where((which == 2)[:, None], low, high & (which == 3)[:, None])
    cut = (band_x[:, None, :] | band_y[:, :, None]) & dice.chance(0.08, n, 1, 1)
    x, fate = _light(_cover(x, dice), dice, strength)
    x = degrade(x.contiguous(), dice)
    # a codec leaves a trace of colour in a grey picture, never much: the daemon sees R = G = B
    mono = x.mean(1, keepdim=True).expand_as(x)
    clean = ((fate == FORGET) & dice.chance(0.3, n))[:, None, None, None]
    flat = (x.amax(1) - x.amin(1)).mean((1, 2))[:, None, None, None] < 0.03
    x = torch.where(clean & flat, mono, x)
    return torch.where(beyond | cut[:, None], GREY, x), fate


def forgotten(labels: Tensor, fate: Tensor) -> Tensor:
    """Colour labels (B,), -1 for none: after what the light did."""
    labels = torch.where(fate == FORGET, torch.full_like(labels, UNKNOWN), labels)
    return torch.where(fate == SKIP, torch.full_like(labels, -1), labels)


def monochrome(x: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Grey versions to measure by: "grey" (luma), "infrared" (one channel, lamp, noise), "purple"
    (infrared through a sensor's unequal channels)."""
    if kind == "grey":
        luma = x.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)
        return (x * luma).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    one = x[:, :1] * 0.75 + x[:, 1:2] * 0.25
    axis = torch.linspace(-1, 1, x.shape[-1], device=x.device)
    lamp = 0.3 + torch.exp(-(axis[None, :] ** 2 + (axis[:, None] - 0.2) ** 2) / 0.8)
    noise = torch.randn(one.shape, generator=generator, device=x.device) * 0.03
    dark = (one**1.3 * lamp * 0.9 + noise).clamp(0, 1).expand(-1, 3, -1, -1)
    if kind == "infrared":
        return dark
    return dark * x.new_tensor((1.0, 0.72, 0.95)).view(1, 3, 1, 1)
