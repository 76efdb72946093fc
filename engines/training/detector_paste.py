"""Plates and decoys on training pictures: where they go, how they are turned and lit."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.training.detector_bank import MAX_BOXES, Bank
from engines.training.detector_labels import ANY_VEHICLE, IGNORE_PLATE, NOT_PLATE, PLATE
from engines.training.detector_layout import SMALLEST_PLATE_PX, Layout, StreetLayer
from engines.training.detector_photo import Dice
from engines.training.detector_sampler import paste

PLATE_TRIES, DECOY_TRIES = 8, 4
IS_PLATE, IS_DECOY = 1, 2
LEAST_SHOWN = 0.55  # of a plate that the picture's border cuts
WIDEST_PX = 640.0
COVERED_SHARE = 0.12  # of the pictures: a plate in them is partly hidden


def tilted(dice: Dice, *, centre: Tensor, width: Tensor, aspect: Tensor, roll: Tensor) -> Tensor:
    """Plates as a camera sees them: (..., 4, 2), about `width` px wide once turned.

    A plate turns about its upright axis, then the camera looks down on it, then the camera rolls.
    In that order, for only so does the depth that the yaw makes become a slanting top edge between
    upright sides, which is how a camera above the road sees a plate from the side.
    """
    shape = width.shape
    oblique = dice.chance(0.5, *shape)
    yaw = dice.normal(*shape).clamp(-2.2, 2.2) * 0.38
    yaw = torch.where(oblique, dice.uniform(*shape, low=-1.2, high=1.2), yaw)
    pitch = dice.normal(*shape).clamp(-2, 2) * 0.22
    pitch = torch.where(oblique, dice.uniform(*shape, low=-0.09, high=0.61), pitch)
    wild = dice.chance(0.12, *shape)
    roll = roll + torch.where(
        wild, dice.uniform(*shape, low=-0.61, high=0.61), dice.normal(*shape) * 0.06
    )
    distance = torch.exp(dice.uniform(*shape, low=math.log(2.0), high=math.log(14.0)))
    width = width / torch.cos(yaw) ** 0.7
    flat = projected(aspect=aspect, yaw=yaw, pitch=pitch, roll=roll, distance=distance)
    return centre[..., None, :] + flat * width[..., None, None]


def projected(
    *, aspect: Tensor, yaw: Tensor, pitch: Tensor, roll: Tensor, distance: Tensor
) -> Tensor:
    """Corners (..., 4, 2) of a plate of width 1 about its middle, clockwise from its top left.

    Angles in radians; `pitch` > 0 looks down; `distance` in plate widths.
    """
    corner = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], device=yaw.device)
    yaw, pitch, roll, far = (v[..., None] for v in (yaw, pitch, roll, distance))
    x = corner[:, 0] * torch.cos(yaw)
    y = corner[:, 1] * aspect[..., None]
    z = corner[:, 0] * torch.sin(yaw)
    cos, sin = torch.cos(pitch), torch.sin(pitch)
    y, z = y * cos - z * sin, y * sin + z * cos
    depth = far / (far + z)
    x, y = x * depth, y * depth
    cos, sin = torch.cos(roll), torch.sin(roll)
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1)


def joined(first: Bank, second: Bank) -> Bank:
    """Two banks as one, so that everything is pasted in one go."""
    return Bank(
        torch.cat([first.words, second.words]),
        torch.cat([first.offset, second.offset + len(first.words)]),
        torch.cat([first.width, second.width]),
        torch.cat([first.height, second.height]),
        {},
        np.concatenate([first.set_name, second.set_name]),
        np.concatenate([first.path, second.path]),
    )


class PasteLayer:
    """Rendered plates and decoys over a street layer."""

    def __init__(self, base: StreetLayer, plates: Bank, decoys: Bank) -> None:
        self.base, self.plates, self.decoys = base, plates, decoys
        device = plates.words.device
        self.span = torch.tensor([base.width, base.height], device=device)
        self.bank = joined(plates, decoys)
        self.overlay = torch.from_numpy(decoys.set_name == "overlay").to(device)
        self.aspect = plates.height[:, 0].float() / plates.width[:, 0].float()
        self.decoy_aspect = decoys.height[:, 0].float() / decoys.width[:, 0].float()

    def add(
        self, dice: Dice, layout: Layout, drawn: tuple[Tensor, Tensor], known: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Paste onto `drawn` (canvas, where a picture is), keeping clear of `known` (classes, boxes).

        Gives quads (B, K, 4, 2) and what each is (B, K): a plate, a decoy, or 0 for nothing.
        """
        canvas, seen = drawn
        size = canvas.shape[0]
        centre, width, wish, roll = self._candidates(dice, layout, *known)
        picks = dice.integers(len(self.plates), size, PLATE_TRIES, 3)
        far = (torch.log(self.aspect[picks]) - torch.log(wish.clamp(min=0.05))[..., None]).abs()
        far = torch.where((wish > 0.05)[..., None], far, torch.zeros_like(far))
        plate = picks.gather(2, far.argmin(-1, keepdim=True))[..., 0]
        quads = tilted(dice, centre=centre, width=width, aspect=self.aspect[plate], roll=roll)
        decoy, decoy_quads = self._decoys(dice, size)
        wanted = dice.chance(0.45, size, DECOY_TRIES)
        quads = torch.cat([quads, decoy_quads], 1)
        kind = torch.cat([(width >= SMALLEST_PLATE_PX) * IS_PLATE, wanted * IS_DECOY], 1)
        kind = self._clear(layout, quads, kind, seen, known)
        item = self._light(dice, canvas, quads)
        overlay = torch.zeros_like(kind, dtype=torch.bool)
        overlay[:, PLATE_TRIES:] = self.overlay[decoy]
        bare = torch.ones_like(overlay)
        bare[:, :PLATE_TRIES] = False
        item["frame"] = item["frame"].masked_fill(bare.view(-1, 1), 0.0)
        # an overlay is not in the scene: neither its light nor a frame touches it
        flat = overlay.view(-1, 1)
        item["gain"] = item["gain"].masked_fill(flat, 1.0)
        for key in ("lift", "ramp", "shadow"):
            item[key] = item[key].masked_fill(flat, 0.0)
        item["picture"] = torch.cat([plate, decoy + len(self.plates)], 1).view(-1)
        paste(canvas, self.bank, item, kind.view(-1) > 0)
        self._cover(dice, canvas, (quads, kind), known)
        return quads, kind

    def _cover(
        self,
        dice: Dice,
        canvas: Tensor,
        pasted: tuple[Tensor, Tensor],
        known: tuple[Tensor, Tensor],
    ) -> None:
        """Something lies over an end of a plate, real or pasted: a hand, a tow bar, a branch."""
        quads, kind = pasted
        size = len(canvas)
        boxes = torch.cat([torch.cat([quads.amin(2), quads.amax(2)], -1), known[1]], 1)
        plate = torch.cat([kind == IS_PLATE, known[0] == PLATE], 1)
        best, index = (dice.uniform(*plate.shape) * plate).max(1)
        box = boxes[torch.arange(size, device=boxes.device), index]
        low, span = box[:, :2], (box[:, 2:] - box[:, :2]).clamp(min=1)
        # it reaches over the end of one side and covers the other side's length or most of it
        across = dice.chance(0.7, size)
        share = dice.uniform(size, low=0.12, high=0.4)
        beyond = dice.uniform(size, low=0.1, high=0.8)
        end = dice.chance(0.5, size)
        start = torch.where(end, 1 - share, -beyond)
        stop = torch.where(end, 1 + beyond, share)
        off = dice.uniform(size, low=-0.8, high=0.3)
        wide = torch.stack([torch.where(across, start, off), torch.where(across, off, start)], -1)
        far = torch.stack(
            [torch.where(across, stop, off + 1.6), torch.where(across, off + 1.6, stop)], -1
        )
        first, last = low + wide * span, low + far * span
        quad = torch.stack(
            [
                first,
                torch.stack([last[:, 0], first[:, 1]], -1),
                last,
                torch.stack([first[:, 0], last[:, 1]], -1),
            ],
            1,
        )
        ok = (best > 0) & dice.chance(COVERED_SHARE, size)
        item = self._light(dice, canvas, quad[:, None])
        item["frame"] = torch.zeros_like(item["frame"])
        item["picture"] = dice.integers(len(self.decoys), size) + len(self.plates)
        paste(canvas, self.bank, item, ok)

    def _decoys(self, dice: Dice, size: int) -> tuple[Tensor, Tensor]:
        """Decoys and their quads: overlays upright near the edges, the rest anywhere and turned."""
        decoy = dice.integers(len(self.decoys), size, DECOY_TRIES)
        overlay = self.overlay[decoy]
        width = torch.exp(dice.uniform(size, DECOY_TRIES, low=math.log(24.0), high=math.log(420.0)))
        width = torch.where(overlay, width.clamp(min=70), width)
        at = dice.uniform(size, DECOY_TRIES, 2) * self.span
        edge = dice.uniform(size, DECOY_TRIES, 2, low=0.02, high=0.12)
        edge = torch.where(dice.chance(0.5, size, DECOY_TRIES, 2), edge, 1 - edge) * self.span
        half = torch.stack([width, width * self.decoy_aspect[decoy]], -1) / 2
        edge = torch.maximum(torch.minimum(edge, self.span - half - 2), half + 2)
        at = torch.where((overlay & dice.chance(0.7, size, DECOY_TRIES))[..., None], edge, at)
        aspect = self.decoy_aspect[decoy]
        flat = tilted(dice, centre=at, width=width, aspect=aspect, roll=torch.zeros_like(width))
        unit = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], device=dice.device)
        upright = at[..., None, :] + unit * half[..., None, :]
        return decoy, torch.where(overlay[..., None, None], upright, flat)

    def _clear(
        self,
        layout: Layout,
        quads: Tensor,
        kind: Tensor,
        seen: Tensor,
        known: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Drop what leaves its quarter, hangs over grey bars, or lies on another plate."""
        classes, boxes = known
        first, last = quads.amin(2), quads.amax(2)
        whole = last - first
        first, last = first.clamp(min=0), torch.minimum(last, self.span.to(last.dtype))
        shown = (last - first).clamp(min=0)
        fits = (shown.prod(-1) > LEAST_SHOWN * whole.prod(-1)) & (shown.amin(-1) >= 3)
        spot = quads.round().long()
        rows = torch.arange(len(quads), device=quads.device)[:, None, None]
        x = spot[..., 0].clamp(0, self.base.width - 1)
        y = spot[..., 1].clamp(0, self.base.height - 1)
        kind = kind * fits * seen[rows, y, x].all(-1)
        taken = (classes == PLATE) | (classes == NOT_PLATE) | (classes == IGNORE_PLATE)
        gap = 2 + 0.06 * (last - first)
        low, high = (first - gap)[:, :, None], (last + gap)[:, :, None]
        hit = ((boxes[:, None, :, :2] < high) & (boxes[:, None, :, 2:] > low)).all(-1)
        clash = (hit & taken[:, None]).any(2)
        inside = (first[:, :, None] >= layout.low[:, None]) & (
            last[:, :, None] <= layout.high[:, None]
        )
        kind = kind * (~clash & inside.all(-1).any(2))
        # of two that overlap, the earlier one stays
        over = ((first[:, None] < high) & (last[:, None] > low)).all(-1) & (kind[:, None] > 0)
        return kind * ~over.tril(-1).any(2)

    def _light(self, dice: Dice, canvas: Tensor, quads: Tensor) -> dict[str, Tensor]:
        """Light each pasted thing (B, K) like its surroundings; everything flat (B K, ...)."""
        image = torch.arange(len(quads), device=quads.device).repeat_interleave(quads.shape[1])
        quad = quads.flatten(0, 1)
        n = len(image)
        small = functional.avg_pool2d(canvas.permute(0, 3, 1, 2), 16)
        luma = small.mean(1).flatten(1)
        bright = luma.kthvalue(int(luma.shape[1] * 0.9), dim=1).values[image]
        dark = luma.kthvalue(max(1, int(luma.shape[1] * 0.05)), dim=1).values[image]
        centre = (quad.mean(1).nan_to_num() / 16).long()
        local = small[
            image,
            :,
            centre[:, 1].clamp(0, small.shape[2] - 1),
            centre[:, 0].clamp(0, small.shape[3] - 1),
        ]
        here = local.mean(1)
        white = (0.45 * bright + 0.55 * here + 0.05) * torch.exp(dice.normal(n) * 0.28) * 1.15
        glowing = dice.chance(0.12, n)
        white = torch.where(glowing, white * dice.uniform(n, low=1.3, high=2.2), white).clamp(
            0.15, 1.15
        )
        lift = dark * dice.uniform(n, low=0.0, high=0.5)
        cast = ((local + 0.03) / (here[:, None] + 0.03)) ** dice.uniform(n, 1, low=0.0, high=0.8)
        gain = (white - lift).clamp(min=0.05)[:, None] * cast.clamp(0.5, 1.8)
        shadowed = dice.chance(0.18, n)
        angle = dice.uniform(n, high=2 * math.pi)
        shadow = torch.stack(
            [
                torch.cos(angle) * 1.5,
                torch.sin(angle) * 1.5,
                dice.uniform(n, low=0.25, high=0.7) * shadowed,
            ],
            -1,
        )
        framed = dice.chance(0.3, n)
        frame = torch.cat(
            [
                (dice.uniform(n, low=0.01, high=0.045) * framed)[:, None],
                dice.uniform(n, 1, high=0.35).expand(n, 3) * white[:, None],
            ],
            -1,
        )
        ramp = dice.normal(n, 2) * 0.15
        blur = dice.uniform(n, low=-0.4, high=0.9)
        return {
            "image": image,
            "quad": quad,
            "gain": gain,
            "lift": lift[:, None].expand(n, 3),
            "ramp": ramp,
            "shadow": shadow,
            "blur": blur,
            "frame": frame,
        }

    def _candidates(
        self, dice: Dice, layout: Layout, classes: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places for plates: centre (B, K, 2), width, wished aspect (0: any), roll (B, K)."""
        pictures, size = layout.pictures, layout.pictures.shape[0]
        # pasted vehicles come last and carry no plate
        classes, boxes = classes[:, : 4 * MAX_BOXES], boxes[:, : 4 * MAX_BOXES]
        t = self.base.street.tables
        slots, ok = t["slots"][pictures], t["slot_ok"][pictures] & layout.ok[..., None]
        linear, shift = layout.matrix[..., :2], layout.matrix[..., 2]
        centre = torch.einsum("bqij,bqsj->bqsi", linear, slots[..., :2]) + shift[:, :, None]
        sx, sy = linear[..., :, 0].norm(dim=-1), linear[..., :, 1].norm(dim=-1)
        width, tall = slots[..., 2] * sx[..., None], slots[..., 3] * sy[..., None]
        along = torch.stack([torch.cos(slots[..., 4]), torch.sin(slots[..., 4])], -1)
        along = torch.einsum("bqij,bqsj->bqsi", linear, along)
        roll = torch.atan2(along[..., 1], along[..., 0].abs()) * torch.sign(along[..., 0] + 1e-9)
        roll = torch.where(along[..., 0] < 0, -roll, roll)
        roll = torch.atan2(torch.sin(roll), torch.cos(roll))
        wish = tall / width.clamp(min=1)
        priority = torch.where(ok, dice.uniform(*ok.shape) + 2.0, torch.full_like(width, -1.0))
        width = width * dice.uniform(*width.shape, low=0.85, high=1.2)
        rows = [
            (
                centre.flatten(1, 2),
                width.flatten(1),
                wish.flatten(1),
                roll.flatten(1),
                priority.flatten(1),
            )
        ]
        # on vehicles: low in the middle
        boxes4 = boxes.view(size, 4 * MAX_BOXES, 4)
        w, h = boxes4[..., 2] - boxes4[..., 0], boxes4[..., 3] - boxes4[..., 1]
        vehicle = (classes > PLATE) & (classes <= ANY_VEHICLE)
        allowed = (
            self.base.on_vehicles[pictures][..., None].expand(size, 4, MAX_BOXES).flatten(1) > 0
        )
        at = torch.stack(
            [
                boxes4[..., 0] + w * dice.uniform(*w.shape, low=0.3, high=0.7),
                boxes4[..., 1] + h * dice.uniform(*w.shape, low=0.55, high=0.88),
            ],
            -1,
        )
        share = dice.uniform(*w.shape, low=0.14, high=0.36)
        chosen = torch.where(
            vehicle & allowed, dice.uniform(*w.shape) * 2.5, torch.full_like(w, -1.0)
        )
        rows.append(
            (
                at,
                torch.minimum(w, h * 1.6) * share,
                torch.zeros_like(w),
                torch.zeros_like(w),
                chosen,
            )
        )
        # anywhere
        n = 4
        at = dice.uniform(size, n, 2) * torch.tensor(
            [self.base.width, self.base.height], device=dice.device
        )
        big = torch.exp(dice.uniform(size, n, low=math.log(14.0), high=math.log(WIDEST_PX)))
        zero = torch.zeros(size, n, device=dice.device)
        chosen = torch.where(dice.chance(0.3, size, n), dice.uniform(size, n) + 1.5, zero - 1)
        rows.append((at, big, zero, zero, chosen))
        centre, width, wish, roll, priority = (
            torch.cat(parts, 1) for parts in zip(*rows, strict=True)
        )
        best, index = priority.topk(PLATE_TRIES, dim=1)
        dropped = dice.chance(0.2, size, PLATE_TRIES) | (best < 0)
        width = torch.where(dropped, zero[:, :1], width.gather(1, index))
        return (
            centre.gather(1, index[..., None].expand(-1, -1, 2)),
            width,
            wish.gather(1, index),
            roll.gather(1, index),
        )
