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
TINY_VEHICLE_PX = 15.0  # square root of the area
SPECIAL_BOXES = 24  # boxes to ignore or to insist on, looked at per picture
REFUSED_WEIGHT = 2.5  # of "no plate here" where somebody looked and saw none, or where a decoy is
SAME_VEHICLE_IOU = 0.5
UNKNOWN_TYPE_WEIGHT = 0.5
# car, motorcycle, bus, truck: about the inverse square root of how often each is annotated
TYPE_WEIGHTS = (0.7, 1.0, 1.2, 1.4)
CLASSES = len(LABELS)
TYPE_SMOOTHING = 0.1  # one written type in ten is wrong: nothing is to be believed to the end
CORNER_BETA = 0.004  # of the plate's width: below it an error is as good as none


@dataclass
class Losses:
    total: Tensor
    score: Tensor
    box: Tensor
    corner: Tensor
    type: Tensor
    positives: Tensor


@dataclass
class Answers:
    """Which cells answer for which target: T targets with K cells each, flat (B, T K)."""

    cell: Tensor  # index of the cell
    wins: Tensor  # bool: no other target has a better claim on it
    target: Tensor  # (T K,) index of the target
    label: Tensor  # what the cell shall say, 0..4
    kind: Tensor  # the target's class
    quality: Tensor  # how good an answer it is, 0 where it does not win


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
        strides = torch.tensor(STRIDES, device=device)
        self.levels = strides[:, None].float()  # (S, 1)
        self.columns, self.rows = width_px // strides[:, None], height_px // strides[:, None]
        cells = (self.columns * self.rows)[:, 0]
        self.starts = (cells.cumsum(0) - cells)[:, None]
        self.vehicle_cells = int(self.starts[1])  # from here on vehicles are more than specks
        steps = torch.arange(-REACH, REACH + 1, device=device)
        self.steps = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
        self.type_weights = torch.tensor((0.0, *TYPE_WEIGHTS), device=device)

    def _candidates(self, boxes: Tensor, is_plate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cells near each target's centre.

        Index (B, T, C), allowed (B, T, C), prior of the level (B, T, C).
        """
        centre = ((boxes[..., :2] + boxes[..., 2:]) / 2)[..., None, None, :]
        half = ((boxes[..., 2:] - boxes[..., :2]) / 2)[..., None, None, :]
        side = (4 * half.prod(-1)).clamp(min=1).sqrt()
        side = torch.where(is_plate[..., None, None], side * 1.3, side)
        x = (centre[..., 0] / self.levels).floor().long() + self.steps[:, 1]
        y = (centre[..., 1] / self.levels).floor().long() + self.steps[:, 0]
        inside = (x >= 0) & (x < self.columns) & (y >= 0) & (y < self.rows)
        # a cell answers for a target that its centre lies on; a tiny one gets its nearest cells
        reach = 0.75 * self.levels
        near = ((x + 0.5) * self.levels - centre[..., 0]).abs() < torch.maximum(half[..., 0], reach)
        near &= ((y + 0.5) * self.levels - centre[..., 1]).abs() < torch.maximum(
            half[..., 1], reach
        )
        # the finest level answers for plates and for vehicles of a few pixels, and nobody else
        # for those: two levels that know them equally badly would never settle
        tiny = (side[..., 0, 0] < TINY_VEHICLE_PX) & ~is_plate
        near[:, :, 0] &= (is_plate | tiny)[..., None]
        near[:, :, 1:] &= ~tiny[..., None, None]
        last_x, last_y = self.columns - 1, self.rows - 1
        index = torch.minimum(y.clamp(min=0), last_y) * self.columns
        index = index + torch.minimum(x.clamp(min=0), last_x) + self.starts
        off = torch.log2(side / (5.0 * self.levels)) / 1.3
        prior = torch.exp(-0.5 * off**2).expand_as(index)
        return index.flatten(2), (inside & near).flatten(2), prior.flatten(2)

    @torch.no_grad()
    def assign(self, batch: Batch, probability: Tensor, boxes: Tensor) -> Answers:
        """Which cells answer for which target, by how well they already fit."""
        size, cells = probability.shape[:2]
        positive = (batch.classes >= PLATE) & (batch.classes <= ANY_VEHICLE)
        is_plate = batch.classes == PLATE
        index, allowed, prior = self._candidates(batch.boxes, is_plate)
        allowed = allowed & positive[..., None]
        rows = torch.arange(size, device=index.device)[:, None, None]
        near_boxes = boxes[rows, index]
        near_probability = probability[rows, index]
        # a vehicle of unknown type is found by whatever type the cell believes in
        belief, guess = near_probability[..., 1:].max(-1)
        unknown = (batch.classes == ANY_VEHICLE)[..., None]
        label = batch.classes.clamp(0, CLASSES - 1)[..., None].expand_as(index)
        own = near_probability.gather(-1, label[..., None])[..., 0]
        own = torch.where(unknown, belief, own)
        label = torch.where(unknown, guess + 1, label)
        iou = box_iou(near_boxes, batch.boxes[:, :, None]).clamp(min=0)
        fit = own.clamp(min=1e-4).sqrt() * (iou**4 + 1e-4) * prior
        fit = torch.where(allowed, fit + 1e-9, 0.0)
        best, order = fit.topk(TOP_CELLS, dim=-1)
        good = best > 0
        share = best / best[..., :1].clamp(min=1e-12)
        chosen_iou = torch.where(good, iou.gather(-1, order), 0.0)
        quality = share * chosen_iou.amax(-1, keepdim=True).clamp(min=0.1)
        # a cell that two targets want: plates first, then the better fit
        claim = torch.where(good, share + 2.0 * is_plate[..., None] + 1e-3, 0.0).flatten(1)
        cell = index.gather(-1, order).flatten(1)
        top = torch.zeros(size, cells, device=claim.device, dtype=claim.dtype)
        top.scatter_reduce_(1, cell, claim, "amax", include_self=True)
        wins = (claim > 0) & (claim >= top.gather(1, cell))
        number = torch.arange(index.shape[1], device=claim.device).repeat_interleave(TOP_CELLS)
        return Answers(
            cell,
            wins,
            number,
            label.gather(-1, order).flatten(1),
            batch.classes[:, number],
            torch.where(wins, quality.flatten(1), 0.0),
        )

    @torch.no_grad()
    def negative_weights(self, batch: Batch, probability: Tensor) -> Tensor:
        """Weight (B, A, 2) of "no plate here" and "no vehicle here"."""
        x, y = self.centres[:, 0], self.centres[:, 1]
        quarter = (x >= batch.split[:, 0:1]).long() + 2 * (y >= batch.split[:, 1:2]).long()
        weight = batch.weights.gather(1, quarter[..., None].expand(-1, -1, 2))
        # where silence is half believed, a confident guess may be right: leave it alone
        doubtful = (weight > 0) & (weight < 1)
        sure = torch.stack([probability[..., 0], probability[..., 1:].amax(-1)], -1) > 0.35
        weight = weight.masked_fill(doubtful & sure, 0.0)
        # one-sided knowledge inside particular boxes
        order = torch.argsort((batch.classes < IGNORE_PLATE).int(), dim=1, stable=True)
        order = order[:, :SPECIAL_BOXES]
        kind = batch.classes.gather(1, order)[..., None]
        box = batch.boxes.gather(1, order[..., None].expand(-1, -1, 4))[:, :, None]
        grow = self.strides[:, 0] * 0.5
        inside = ((box[..., 0] - grow < x) & (box[..., 2] + grow > x)) & (
            (box[..., 1] - grow < y) & (box[..., 3] + grow > y)
        )
        refused = (inside & (kind == NOT_PLATE)).any(1)
        unsure = (inside & (kind == IGNORE_PLATE)).any(1)
        hidden = (inside & (kind == IGNORE_VEHICLE)).any(1)
        plate = weight[..., 0].masked_fill(refused, REFUSED_WEIGHT).masked_fill(unsure, 0.0)
        return torch.stack([plate, weight[..., 1].masked_fill(hidden, 0.0)], -1)

    @torch.no_grad()
    def _weights(self, batch: Batch, probability: Tensor, boxes: Tensor, told: Answers) -> Tensor:
        """Weight (B, A, 5) of "absent" for everything that is not wished for."""
        cells = probability.shape[1]
        silence = self.negative_weights(batch, probability)
        # a box that lies on a vehicle of known type is that vehicle: every other type is wrong
        # there, whatever the set's silence is worth
        known = (batch.classes > PLATE) & (batch.classes < ANY_VEHICLE)
        low = torch.where(known[..., None], batch.boxes, -9e3)[:, None]
        near = boxes[:, self.vehicle_cells :, None]
        same = (box_iou(near, low) > SAME_VEHICLE_IOU).any(-1)
        vehicle = silence[..., 1]
        vehicle[:, self.vehicle_cells :].masked_fill_(same, 1.0)
        # a cell that answers for a plate, or for a vehicle whose type nobody wrote down, says
        # nothing about other vehicles; one that answers for a known vehicle rules the others out
        speaks = (told.kind > PLATE) & (told.kind < ANY_VEHICLE)
        place = torch.where(told.wins, told.cell, cells)
        vehicle = torch.cat([vehicle, vehicle[:, :1]], 1).scatter(1, place, speaks.float())
        return torch.cat(
            [silence[..., :1], vehicle[:, :cells, None].expand(-1, -1, CLASSES - 1)], -1
        )

    def _score_loss(
        self, batch: Batch, logits: Tensor, boxes: Tensor, told: Answers, total: Tensor
    ) -> Tensor:
        probability = torch.sigmoid(logits.detach())
        size, cells = logits.shape[:2]
        weight = self._weights(batch, probability, boxes, told)
        flat = torch.where(told.wins, told.cell * CLASSES + told.label, cells * CLASSES)
        wish = torch.zeros(size, cells * CLASSES + 1, device=logits.device)
        wish = wish.scatter_(1, flat, told.quality)[:, :-1].view_as(logits)
        # nobody knows the type: make up what is missing for being found at all, and never more,
        # so that a wrong belief is not trained towards certainty
        unknown = told.kind == ANY_VEHICLE
        emphasis = torch.zeros(size, cells * CLASSES + 1, device=logits.device)
        emphasis.scatter_(1, flat, torch.where(unknown, -1.0, 1.0))
        emphasis = emphasis[:, :-1].view_as(logits)
        unknown_weight = UNKNOWN_TYPE_WEIGHT * (probability < wish)
        weight = torch.where(emphasis > 0, 1.0, torch.where(emphasis < 0, unknown_weight, weight))
        cell_loss = functional.binary_cross_entropy_with_logits(logits, wish, reduction="none")
        focus = (probability - wish).abs() ** 1.5
        return (cell_loss * focus * weight).sum() / total

    def __call__(self, batch: Batch, logits: Tensor, offsets: Tensor, corners: Tensor) -> Losses:
        """Losses of raw net outputs (B, A, 5), (B, A, 4), (B, A, 8).

        Answers stay padded: picking the winners out would make the host wait for the device.
        """
        logits, offsets, corners = logits.float(), offsets.float(), corners.float()
        boxes = decode_boxes(offsets, self.centres, self.strides)
        told = self.assign(batch, torch.sigmoid(logits.detach()), boxes.detach())
        total = told.quality.sum().clamp(min=8.0)
        score_loss = self._score_loss(batch, logits, boxes.detach(), told, total)
        share = told.quality / total
        near, wanted = at_cells(boxes, told.cell), batch.boxes[:, told.target]
        box_loss = ((1 - box_iou(near, wanted, 1)) * share).sum()
        types = at_cells(logits, told.cell)[..., 1:]
        type_share = share * self.type_weights[told.label] * (told.kind < ANY_VEHICLE)
        type_error = functional.cross_entropy(
            types.flatten(0, 1),
            (told.label - 1).clamp(min=0).flatten(),
            reduction="none",
            label_smoothing=TYPE_SMOOTHING,
        )
        type_loss = (type_error * type_share.flatten()).sum()
        points = decode_corners(near, at_cells(corners, told.cell))
        error = corner_errors(points, batch, told.target, wanted)
        corner_loss = (error * share * (told.kind == PLATE)).sum()
        loss = score_loss * 1.5 + box_loss * 2.5 + corner_loss * 6.0 + type_loss * 0.5
        return Losses(
            loss,
            score_loss.detach(),
            box_loss.detach(),
            corner_loss.detach(),
            type_loss.detach(),
            told.wins.sum(),
        )


def at_cells(values: Tensor, cell: Tensor) -> Tensor:
    """Values (B, A, C) at cells (B, K): (B, K, C)."""
    return values.gather(1, cell[..., None].expand(-1, -1, values.shape[-1]))


def corner_errors(points: Tensor, batch: Batch, target: Tensor, wanted: Tensor) -> Tensor:
    """Error (B, K) of corners (B, K, 8), in plate widths.

    Against the exact corners of a rendered plate; the corners of a real one must span its box.
    """
    true = batch.corners[:, target]
    length = (true[..., 2:4] - true[..., 0:2]).norm(dim=-1, keepdim=True).clamp(min=4.0)
    exact = functional.smooth_l1_loss(
        points / length, true / length, beta=CORNER_BETA, reduction="none"
    )
    xs, ys = points[..., 0::2], points[..., 1::2]
    loose = torch.stack([xs.amin(-1), ys.amin(-1), xs.amax(-1), ys.amax(-1)], -1)
    span = (wanted[..., 2:3] - wanted[..., 0:1]).clamp(min=4.0)
    spanned = functional.smooth_l1_loss(loose / span, wanted / span, beta=0.05, reduction="none")
    return torch.where(batch.has_corners[:, target], exact.sum(-1), 0.4 * spanned.sum(-1))
