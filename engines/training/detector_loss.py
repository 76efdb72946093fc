"""What a good answer is: targets assigned to cells by how well they already fit, and the losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engines.training.detector_compose import Batch
from engines.training.detector_labels import (
    ANY_VEHICLE,
    IGNORE_PLATE,
    IGNORE_VEHICLE,
    NOT_PLATE,
    PLATE,
)
from engines.training.detector_net import (
    LABELS,
    STRIDES,
    cell_centres,
    decode_boxes,
    decode_corners,
)

REACH = 2  # cells around a target's centre that may answer for it, at every stride
TOP_CELLS = 9
SPECIAL_BOXES = 16  # boxes to ignore or to insist on, looked at per picture
CLASSES = len(LABELS)


@dataclass
class Losses:
    total: Tensor
    score: Tensor
    box: Tensor
    corner: Tensor
    positives: Tensor


def box_iou(a: Tensor, b: Tensor, complete: int = 0) -> Tensor:
    """IoU of boxes (..., 4); with `complete`, less CIoU's distance and shape terms."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    size_a = (a[..., 2:] - a[..., :2]).clamp(min=1e-3)
    size_b = (b[..., 2:] - b[..., :2]).clamp(min=1e-3)
    iou = inter / (size_a.prod(-1) + size_b.prod(-1) - inter).clamp(min=1e-6)
    if not complete:
        return iou
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    gap = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    turn = torch.atan(size_b[..., 0] / size_b[..., 1]) - torch.atan(size_a[..., 0] / size_a[..., 1])
    shape = (4 / math.pi**2) * turn**2
    with torch.no_grad():
        alpha = shape / (1 - iou + shape).clamp(min=1e-6)
    return iou - gap / (hull**2).sum(-1).clamp(min=1e-6) - alpha * shape


class DetectorLoss:
    """Assigns targets and measures the loss for one input size."""

    def __init__(self, width_px: int, height_px: int, device: torch.device) -> None:
        self.width, self.height = width_px, height_px
        self.centres, self.strides = cell_centres(width_px, height_px, device)
        self.starts, start = [], 0
        for stride in STRIDES:
            self.starts.append(start)
            start += (width_px // stride) * (height_px // stride)
        steps = torch.arange(-REACH, REACH + 1, device=device)
        self.steps = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)

    def _candidates(self, boxes: Tensor, is_plate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cells near each target's centre.

        Index (B, T, C), allowed (B, T, C), prior of the level (B, T, C).
        """
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        half = (boxes[..., 2:] - boxes[..., :2]) / 2
        side = (4 * half.prod(-1)).clamp(min=1).sqrt() * torch.where(is_plate, 1.3, 1.0)
        indices, allowed, priors = [], [], []
        for stride, start in zip(STRIDES, self.starts, strict=True):
            columns, rows = self.width // stride, self.height // stride
            cell = (centre / stride).floor().long()
            x = cell[..., None, 0] + self.steps[:, 1]
            y = cell[..., None, 1] + self.steps[:, 0]
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            px = (x + 0.5) * stride - centre[..., None, 0]
            py = (y + 0.5) * stride - centre[..., None, 1]
            # a cell answers for a target that its centre lies on; a tiny one gets its nearest cells
            room = torch.maximum(half, torch.full_like(half, 0.75 * stride))
            near = (px.abs() < room[..., None, 0]) & (py.abs() < room[..., None, 1])
            if stride == STRIDES[0]:
                near = near & is_plate[..., None]
            indices.append(start + y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1))
            allowed.append(inside & near)
            off = torch.log2(side / (5.0 * stride)) / 1.3
            priors.append(torch.exp(-0.5 * off**2)[..., None].expand_as(px))
        return torch.cat(indices, -1), torch.cat(allowed, -1), torch.cat(priors, -1)

    @torch.no_grad()
    def assign(
        self, batch: Batch, probability: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Per cell: its target (B.

        A) or -1, how good a positive it is (B, A), the target's class (B, A).
        """
        size, cells = probability.shape[:2]
        positive = (batch.classes >= PLATE) & (batch.classes <= ANY_VEHICLE)
        is_plate = batch.classes == PLATE
        index, allowed, prior = self._candidates(batch.boxes, is_plate)
        allowed = allowed & positive[..., None]
        rows = torch.arange(size, device=index.device)[:, None, None]
        near_boxes = boxes[rows, index]
        near_probability = probability[rows, index]
        any_vehicle = near_probability[..., 1:].amax(-1)
        label = batch.classes.clamp(0, CLASSES - 1)[..., None, None].expand(*index.shape, 1)
        own = near_probability.gather(-1, label)[..., 0]
        own = torch.where((batch.classes == ANY_VEHICLE)[..., None], any_vehicle, own)
        iou = box_iou(near_boxes, batch.boxes[:, :, None]).clamp(min=0)
        fit = own.clamp(min=1e-4).sqrt() * (iou**4 + 1e-4) * prior
        fit = torch.where(allowed, fit + 1e-9, torch.zeros_like(fit))
        best, order = fit.topk(TOP_CELLS, dim=-1)
        chosen = index.gather(-1, order)
        chosen_iou = iou.gather(-1, order)
        good = best > 0
        strongest = best.amax(-1, keepdim=True).clamp(min=1e-12)
        quality = (
            best
            / strongest
            * torch.where(good, chosen_iou, torch.zeros_like(chosen_iou))
            .amax(-1, keepdim=True)
            .clamp(min=0.1)
        )
        # a cell that two targets want: plates first, then the better fit
        claim = torch.where(
            good, best / strongest + 2.0 * is_plate[..., None] + 1e-3, torch.zeros_like(best)
        )
        flat_cell = chosen.flatten(1)
        flat_claim = claim.flatten(1)
        top = torch.zeros(size, cells, device=claim.device, dtype=claim.dtype)
        top.scatter_reduce_(1, flat_cell, flat_claim, "amax", include_self=True)
        wins = (flat_claim > 0) & (flat_claim >= top.gather(1, flat_cell))
        number = (
            torch.arange(batch.classes.shape[1], device=claim.device)[None, :, None]
            .expand_as(chosen)
            .flatten(1)
        )
        target = torch.full((size, cells + 1), -1, dtype=torch.long, device=claim.device)
        place = torch.where(wins, flat_cell, torch.full_like(flat_cell, cells))
        target.scatter_(1, place, number)
        score = torch.zeros(size, cells + 1, device=claim.device, dtype=quality.dtype)
        score.scatter_(1, place, quality.flatten(1))
        target, score = target[:, :cells], score[:, :cells]
        kind = batch.classes.gather(1, target.clamp(min=0))
        # a vehicle of unknown type takes the type that the cell believes in
        guess = probability[..., 1:].argmax(-1) + 1
        kind = torch.where(kind == ANY_VEHICLE, guess, kind)
        return target, score, kind

    @torch.no_grad()
    def negative_weights(self, batch: Batch, probability: Tensor) -> Tensor:
        """Weight (B, A, 5) of "nothing here"."""
        x, y = self.centres[:, 0], self.centres[:, 1]
        quarter = (x >= batch.split[:, 0:1]).long() + 2 * (y >= batch.split[:, 1:2]).long()
        base = batch.weights.gather(1, quarter[..., None].expand(-1, -1, 2))
        # where silence is half believed, a confident guess may be right: leave it alone
        doubtful = (base > 0) & (base < 1)
        sure = torch.stack([probability[..., 0], probability[..., 1:].amax(-1)], -1) > 0.35
        base = torch.where(doubtful & sure, torch.zeros_like(base), base)
        weight = torch.cat([base[..., :1], base[..., 1:].expand(-1, -1, CLASSES - 1)], -1).clone()
        # one-sided knowledge inside particular boxes
        order = torch.argsort((batch.classes < IGNORE_PLATE).int(), dim=1, stable=True)[
            :, :SPECIAL_BOXES
        ]
        special = batch.classes.gather(1, order)
        special_boxes = batch.boxes.gather(1, order[..., None].expand(-1, -1, 4))
        for t in range(special.shape[1]):
            kind, box = special[:, t, None], special_boxes[:, t, :, None]
            grow = self.strides[:, 0][None] * 0.5
            inside = (
                (x > box[:, 0] - grow)
                & (x < box[:, 2] + grow)
                & (y > box[:, 1] - grow)
                & (y < box[:, 3] + grow)
            )
            weight[..., 0] = torch.where(
                inside & (kind == IGNORE_PLATE), torch.zeros_like(x), weight[..., 0]
            )
            weight[..., 0] = torch.where(
                inside & (kind == NOT_PLATE), torch.full_like(x, 1.5), weight[..., 0]
            )
            hidden = (inside & (kind == IGNORE_VEHICLE))[..., None]
            weight[..., 1:] = torch.where(
                hidden, torch.zeros_like(weight[..., 1:]), weight[..., 1:]
            )
        return weight

    def __call__(self, batch: Batch, logits: Tensor, offsets: Tensor, corners: Tensor) -> Losses:
        """Losses of raw net outputs (B, A, 5), (B, A, 4), (B, A, 8)."""
        logits, offsets, corners = logits.float(), offsets.float(), corners.float()
        boxes = decode_boxes(offsets, self.centres, self.strides)
        probability = torch.sigmoid(logits.detach())
        target, score, kind = self.assign(batch, probability, boxes.detach())
        found = target >= 0
        wish = torch.zeros_like(logits)
        wish.scatter_(2, kind.clamp(0, CLASSES - 1)[..., None], (score * found)[..., None])
        weight = self.negative_weights(batch, probability)
        hit = wish > 0
        # a cell that answers for a plate says nothing about vehicles around it, and the reverse
        plate_cell = (found & (kind == PLATE))[..., None]
        weight[..., 1:] = torch.where(
            plate_cell, torch.zeros_like(weight[..., 1:]), weight[..., 1:]
        )
        cell_loss = functional.binary_cross_entropy_with_logits(logits, wish, reduction="none")
        focus = (probability - wish).abs() ** 1.5
        total_score = score[found].sum().clamp(min=8.0)
        score_loss = (
            cell_loss * focus * torch.where(hit, torch.ones_like(weight), weight)
        ).sum() / total_score
        row, cell = found.nonzero(as_tuple=True)
        which = target[row, cell]
        share = score[row, cell].detach() / total_score
        near = boxes[row, cell]
        wanted = batch.boxes[row, which]
        box_loss = ((1 - box_iou(near, wanted, 1)) * share).sum()
        plate = (batch.classes[row, which] == PLATE).float()
        exact = batch.has_corners[row, which].float()
        points = decode_corners(near, corners[row, cell])
        span = (wanted[:, 2] - wanted[:, 0]).clamp(min=4.0)
        true_points = batch.corners[row, which]
        length = (true_points[:, 2:4] - true_points[:, 0:2]).norm(dim=-1).clamp(min=4.0)
        exact_error = functional.smooth_l1_loss(
            points / length[:, None], true_points / length[:, None], beta=0.02, reduction="none"
        ).sum(-1)
        loose = torch.stack(
            [
                points[:, 0::2].amin(-1),
                points[:, 1::2].amin(-1),
                points[:, 0::2].amax(-1),
                points[:, 1::2].amax(-1),
            ],
            -1,
        )
        loose_error = functional.smooth_l1_loss(
            loose / span[:, None], wanted / span[:, None], beta=0.05, reduction="none"
        ).sum(-1)
        corner_loss = (
            plate * share * (exact * exact_error + 0.4 * (1 - exact) * loose_error)
        ).sum()
        total = score_loss * 1.5 + box_loss * 2.5 + corner_loss * 3.0
        return Losses(
            total, score_loss.detach(), box_loss.detach(), corner_loss.detach(), found.sum()
        )
