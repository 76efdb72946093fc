"""What cameras do to pictures, on the GPU.

Light, colour, night, infrared, blur, noise, compression.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)


class Dice:
    """Random numbers from one generator on one device, and a few on the host.

    The host decides how many pictures something happens to, so that nobody waits for the device.
    """

    def __init__(self, generator: torch.Generator, host: np.random.Generator) -> None:
        self.generator, self.host = generator, host
        self.device = generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.empty(shape, device=self.device).uniform_(low, high, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, generator=self.generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device) < probability

    def some(self, count: int, probability: float) -> Tensor:
        """Which of `count` pictures: as many as expected, in random order."""
        chosen = int(count * probability + self.host.random())
        return self.uniform(count).argsort()[:chosen]


def _colour(images: Tensor, dice: Dice) -> Tensor:
    """Exposure, contrast, gamma, colour cast, saturation, grey and infrared, night.

    Everything after the gamma is linear in the colour: one 3x3 matrix and an offset a picture.
    """
    n, _, height, width = images.shape
    gamma = torch.exp(dice.uniform(n, low=-0.4, high=0.4))
    night = dice.chance(0.10, n)
    gamma = torch.where(night, gamma * dice.uniform(n, low=1.2, high=2.4), gamma)
    x = images.permute(0, 2, 3, 1).reshape(n, height * width, 3)
    x = x.clamp(1e-3, 1).pow_(gamma[:, None, None])
    mean = x.mean((1, 2))
    contrast = torch.exp(dice.uniform(n, low=-0.45, high=0.35))
    gain = torch.exp(dice.uniform(n, low=-0.35, high=0.3))
    gain = torch.where(night, gain * dice.uniform(n, low=0.35, high=0.9), gain)
    cast = dice.normal(n, 3) * 0.09 * dice.chance(0.7, n, 1)
    strong = dice.normal(n, 3) * 0.4 * dice.chance(0.07, n, 1)
    cast = torch.exp((cast + strong).clamp(-1, 0.8)) * gain[:, None]
    saturation = dice.uniform(n, low=0.3, high=1.5)
    saturation = torch.where(dice.chance(0.12, n), torch.zeros_like(saturation), saturation)
    grey = x.new_tensor(LUMA)[:, None].expand(3, 3)
    keep = saturation[:, None, None]
    mix = cast[:, :, None] * (torch.eye(3, device=x.device) * keep + grey * (1 - keep))
    offset = (mean * (1 - contrast))[:, None, None] * mix.sum(1, keepdim=True)
    x = torch.baddbmm(offset, x, mix * contrast[:, None, None])
    return x.view(n, height, width, 3).permute(0, 3, 1, 2)


def _glare(images: Tensor, dice: Dice) -> Tensor:
    """Headlamps: one to three bright blobs with a coloured halo."""
    chosen = dice.some(images.shape[0], 0.07)
    if len(chosen) == 0:
        return images
    _, _, height, width = images.shape
    ys = torch.linspace(0, 1, height, device=images.device).view(1, 1, height, 1)
    xs = torch.linspace(0, width / height, width, device=images.device).view(1, 1, 1, width)
    part = images[chosen]
    for _ in range(2):
        k = len(chosen)
        cx = dice.uniform(k, 1, 1, 1, high=width / height)
        cy = dice.uniform(k, 1, 1, 1)
        r = torch.exp(dice.uniform(k, 1, 1, 1, low=math.log(0.01), high=math.log(0.12)))
        d = ((xs - cx) ** 2 + (ys - cy) ** 2).sqrt() / r
        tint = 1 - 0.4 * dice.uniform(k, 3, 1, 1) * dice.chance(0.6, k, 1, 1, 1)
        part = part + torch.exp(-d * 0.8) * tint * dice.uniform(k, 1, 1, 1, low=0.4, high=1.6)
    images[chosen] = part
    return images


def _blur(images: Tensor, dice: Dice) -> Tensor:
    """Focus and motion blur with one 9x9 kernel per picture."""
    chosen = dice.some(images.shape[0], 0.28)
    k = len(chosen)
    if k == 0:
        return images
    grid = torch.arange(-4, 5, device=images.device).float()
    y, x = grid.view(1, 9, 1), grid.view(1, 1, 9)
    angle = dice.uniform(k, 1, 1, high=math.pi)
    along = x * torch.cos(angle) + y * torch.sin(angle)
    across = -x * torch.sin(angle) + y * torch.cos(angle)
    long = torch.exp(dice.uniform(k, 1, 1, low=math.log(0.4), high=math.log(2.6)))
    short = torch.where(dice.chance(0.5, k, 1, 1), torch.full_like(long, 0.4), long.clamp(max=1.7))
    kernel = torch.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2))
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    _, _, height, width = images.shape
    part = images[chosen].reshape(1, k * 3, height, width)
    weight = kernel.repeat_interleave(3, 0)[:, None].to(part.dtype)
    part = functional.conv2d(
        functional.pad(part, (4, 4, 4, 4), mode="replicate"), weight, groups=k * 3
    )
    images[chosen] = part.view(k, 3, height, width)
    return images


def _low_resolution(images: Tensor, dice: Dice) -> Tensor:
    """Shrunk and enlarged again: cheap zooms and substreams."""
    chosen = dice.some(images.shape[0], 0.10)
    if len(chosen) == 0:
        return images
    _, _, height, width = images.shape
    factor = 0.4 + 0.45 * dice.host.random()
    small = functional.interpolate(
        images[chosen], size=(int(height * factor), int(width * factor)), mode="area"
    )
    mode = "bilinear" if dice.host.random() < 0.8 else "nearest"
    images[chosen] = functional.interpolate(small, size=(height, width), mode=mode)
    return images


def _noise(images: Tensor, dice: Dice) -> Tensor:
    chosen = dice.some(images.shape[0], 0.4)
    k = len(chosen)
    if k == 0:
        return images
    _, _, height, width = images.shape
    sigma = torch.exp(dice.uniform(k, 1, 1, 1, low=math.log(0.006), high=math.log(0.09)))
    part = images[chosen] + dice.normal(k, 3, height, width) * sigma
    k = int(k * 0.15 + dice.host.random())
    rate = dice.uniform(k, 1, 1, 1, low=0.003, high=0.05)
    specks = dice.uniform(k, 1, height, width) < rate
    part[:k] = torch.where(specks, dice.chance(0.5, k, 1, height, width).to(part.dtype), part[:k])
    images[chosen] = part
    return images


_QUANTA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


def _compress(images: Tensor, dice: Dice) -> Tensor:
    """JPEG's loss: 8x8 cosine transform, quantised, in luma and chroma."""
    chosen = dice.some(images.shape[0], 0.3)
    k = len(chosen)
    if k == 0:
        return images
    _, _, height, width = images.shape
    device = images.device
    index = torch.arange(8, device=device).float()
    basis = torch.cos((2 * index[None, :] + 1) * index[:, None] * math.pi / 16) * 0.5
    basis[0] *= math.sqrt(0.5)
    quanta = torch.tensor(_QUANTA, device=device).float()
    quality = dice.uniform(k, 1, 1, 1, 1, low=12, high=75)
    factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50).clamp(min=0.05)
    rgb = images[chosen].float() * 255
    luma = (rgb * rgb.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1)
    planes = torch.stack([luma - 128, (rgb[:, 2] - luma) * 0.564, (rgb[:, 0] - luma) * 0.713], 1)
    tiles = planes.view(k, 3, height // 8, 8, width // 8, 8).transpose(3, 4).flatten(-2)
    table = torch.stack([quanta, quanta.clamp(min=17) * 1.3, quanta.clamp(min=17) * 1.3])
    step = (table.view(1, 3, 1, 1, 64) * factor).clamp(min=1)
    waves = torch.kron(basis, basis)  # the whole 8x8 transform as one product
    tiles = (torch.round(tiles @ waves.T / step) * step) @ waves
    tiles = tiles.view(k, 3, height // 8, width // 8, 8, 8).transpose(3, 4)
    y, cb, cr = tiles.reshape(k, 3, height, width).unbind(1)
    y = y + 128
    rgb = torch.stack([y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb], 1) / 255
    images[chosen] = rgb.to(images.dtype)
    return images


def develop(images: Tensor, dice: Dice) -> Tensor:
    """Put (N, 3, H, W) in 0..1 through a random camera; gives a new tensor in 0..1."""
    return degrade(_colour(images, dice), dice)


def degrade(images: Tensor, dice: Dice) -> Tensor:
    """What follows light and colour: glare, blur, resolution, noise, compression. May write into
    `images`."""
    x = _blur(_glare(images, dice), dice)
    x = _low_resolution(x, dice).clamp_(0, 1)
    x = _noise(x, dice).clamp_(0, 1)
    x = _compress(x, dice)
    # one picture in some 170,000 comes out as NaN, and one would poison every weight
    x = torch.nan_to_num_(x, nan=0.45, posinf=1.0, neginf=0.0).clamp_(0, 1)
    return x.mul_(255).round_().div_(255)
