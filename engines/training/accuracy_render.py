"""Rendered test pictures with exact truth: plates in drawn scenes, and plates of every design.

Everything comes from fixed seeds, so it is the same on every run. Needs Pillow and the fonts that
the plates are set in; `check_remedies` says so before anything is drawn.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.core.observe import usable_read
from alprd.core.plates import MIN_CHARS
from alprd.core.types import PLATE_LABEL, Detection, PlateRead
from engines.training.accuracy_data import Image, overlap
from engines.training.accuracy_detect import FOUND_IOU, MIN_WIDTH_PX
from engines.training.accuracy_figures import RENDERED_BORDERLINE, Figure, share_of
from engines.training.accuracy_models import Eyes, Published, Sight, publish
from engines.training.accuracy_read import region_right

SCENE_SEED, CROP_SEED = 20261121, 411
SCENES = 260
A_DESIGN = 5
RENDERED = "rendered"
SIZES = ((640, 384), (960, 544), (1280, 720))
CORNER_WANTED, REGION_WANTED = 0.02, 0.95
CORNER_SLACK = 0.0007
"""Corners answer every pixel that a FreeType version moves; the mean of hundreds hardly does."""

CROP_JITTER = 0.008
"""Standard deviation of the corners that a rendered crop is cut out by, in plate widths: a good
detector's."""

Quad = NDArray[np.float32]


class RemedyNeededError(Exception):
    """Plates cannot be rendered here; the message says what to install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A rendered plate in a small picture: BGR, its corners as a detector would give them."""

    image: Image
    place: Detection
    text: str
    region: str
    design: str


def check_remedies() -> None:
    """Refuse to render with other faces than anywhere else. Raises RemedyNeededError."""
    if sys.version_info < (3, 11):
        raise RemedyNeededError(
            "rendering plates needs Python 3.11: make accuracy PYTHON=python3.11"
        )
    if importlib.util.find_spec("PIL") is None:
        raise RemedyNeededError(
            "rendering plates needs Pillow: make accuracy installs it, or pip install --group accuracy"
        )
    from engines.training import fonts  # noqa: PLC0415 - needs Pillow

    named = {spec.file for specs in fonts.families().values() for spec in specs} - {fonts.FALLBACK}
    missing = sorted(name for name in named if fonts.find_font(name) is None)
    if missing:
        raise RemedyNeededError(
            f"rendering plates needs the fonts {', '.join(missing)}: packaging/system-packages "
            "test python3 installs Debian's, the rest lies with the shared photographs; or name "
            "their folders in ALPRD_FONT_DIRS"
        )


def posed(rng: np.random.Generator, aspect: float, *, steepest_deg: float = 45.0) -> Quad:
    """(4, 2) corners of a plate seen by a camera, of width about 1, around the origin."""
    yaw = math.radians(float(np.clip(rng.normal(0, 20), -steepest_deg, steepest_deg)))
    pitch = math.radians(float(np.clip(rng.normal(-8, 10), -30, 20)))
    roll = math.radians(float(np.clip(rng.normal(0, 4), -12, 12)))
    away = float(rng.uniform(4, 25))  # in plate widths: how strong the perspective is
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * [1.0, 1.0 / aspect]
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    turn = np.array([[cy, 0.0], [sp * sy, cp], [-cp * sy, sp]])  # Rx(pitch) Ry(yaw), z unused: flat
    seen = corners @ turn.T
    flat = seen[:, :2] * away / (away + seen[:, 2:])
    cr, sr = math.cos(roll), math.sin(roll)
    return (flat @ np.array([[cr, sr], [-sr, cr]])).astype(np.float32)


def paste(image: Image, flat: NDArray[np.uint8], quad: Quad, gain: float) -> None:
    """Warp a flat RGBA plate onto a BGR picture, in place; pixels count from their edges."""
    height, width = flat.shape[:2]
    shrink = min(1.0, 1.5 * float(np.linalg.norm(quad[1] - quad[0])) / width)
    if shrink < 1.0:  # warping alone would skip pixels
        flat = cv2.resize(flat, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        height, width = flat.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source - np.float32(0.5), quad - np.float32(0.5))
    warped = cv2.warpPerspective(flat, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR)
    cover = warped[..., 3:].astype(np.float32) / 255
    lit = np.clip(warped[..., 2::-1].astype(np.float32) * gain, 0, 255)
    image[:] = (image * (1 - cover) + lit * cover + 0.5).astype(np.uint8)


def photographed(rng: np.random.Generator, image: Image, *, harm: float = 1.0) -> Image:
    """What a camera makes of a picture without moving anything in it."""
    out = image.astype(np.float32)
    if rng.random() < 0.12:  # infrared
        out[:] = out.mean(axis=2, keepdims=True)
    else:
        out *= 1 + rng.normal(0, 0.05, 3).astype(np.float32)
    dark = rng.random() < 0.2
    gain = float(rng.uniform(0.25, 0.6) if dark else rng.uniform(0.75, 1.2))
    out = 255 * np.clip(out / 255 * gain, 0, None) ** np.float32(rng.uniform(0.8, 1.25))
    if rng.random() < 0.6:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 1.0)) * harm)
    if rng.random() < 0.25:
        out = _moved(out, float(rng.uniform(1.5, 4.0)) * harm, float(rng.uniform(0, math.pi)))
    out += rng.normal(0, float(rng.uniform(1, 9 if dark else 5)) * harm, out.shape)
    shown = np.clip(out, 0, 255).astype(np.uint8)
    quality = int(rng.uniform(40, 92))
    encoded = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def _moved(image: NDArray[np.float32], length_px: float, angle: float) -> NDArray[np.float32]:
    """Motion blur about the centre: nothing shifts."""
    reach = math.ceil(length_px)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-0.5, 0.5, 4 * reach + 1):
        x = reach + t * length_px * math.cos(angle)
        y = reach + t * length_px * math.sin(angle)
        kernel[round(y), round(x)] += 1.0
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def scenes(count: int = SCENES, seed: int = SCENE_SEED) -> Iterator[tuple[Image, list[Quad]]]:
    """Drawn streets with plates on their vehicles: BGR picture, corners of every plate."""
    from engines.training.plates import render_plate  # noqa: PLC0415 - needs Pillow
    from engines.training.scenes import render_scene  # noqa: PLC0415

    for number in range(count):
        rng = np.random.default_rng((seed, number))
        width, height = SIZES[int(rng.integers(len(SIZES)))]
        scene = render_scene(rng, width, height)
        image = np.ascontiguousarray(scene.image[:, :, ::-1])
        quads: list[Quad] = []
        for slot in scene.slots:
            across = float(np.linalg.norm(slot.quad[1] - slot.quad[0]))
            plate = render_plate(rng)
            aspect = plate.image.shape[1] / plate.image.shape[0]
            size = max(across, float(rng.uniform(1.0, 1.3)) * MIN_WIDTH_PX)
            quad = posed(rng, aspect) * np.float32(size) + slot.quad.mean(0)
            if (quad < 0).any() or (quad > (width, height)).any() or _crowded(quad, quads):
                continue
            paste(image, plate.image, quad, float(rng.uniform(0.6, 1.05)))
            quads.append(quad.astype(np.float32))
        yield photographed(rng, image), quads


def _crowded(quad: Quad, others: list[Quad]) -> bool:
    low, high = quad.min(0), quad.max(0)
    return any((low < q.max(0)).all() and (high > q.min(0)).all() for q in others)


def plate_width(quad: Quad) -> float:
    """Mean length of the top and bottom edges."""
    return float(np.linalg.norm(quad[1] - quad[0]) + np.linalg.norm(quad[2] - quad[3])) / 2


def corner_figures(sight: Sight, eyes: Eyes, count: int = SCENES) -> list[Figure]:
    """Mean distance of a plate's corners from the truth, in parts of its width: as the daemon
    delivers them, the reader's where it is sure enough, and the detector's alone.
    """
    ours: list[float] = []
    detectors: list[float] = []
    wanted = 0
    for image, quads in scenes(count):
        plates, _ = sight.look(image)
        delivered = [
            _delivered(p, r) for p, r in zip(plates, eyes.read(image, plates), strict=True)
        ]
        for quad in quads:
            if np.ptp(quad[:, 0]) < MIN_WIDTH_PX:
                continue
            wanted += 1
            box = (*quad.min(0).tolist(), *quad.max(0).tolist())
            shared = overlap(box, [d.box for d in plates])
            if not len(shared) or shared.max() < FOUND_IOU:
                continue
            best = int(shared.argmax())
            found = plates[best].quad
            if found is not None:
                detectors.append(_distance(found, quad))
                ours.append(_distance(delivered[best], quad))
    return [
        *_error_figures("", "corner error", ours, CORNER_WANTED),
        *_error_figures(f"{sight.name}/", "the detector's corners alone", detectors, None),
        rendered(
            f"{sight.name}/recall",
            "plate recall, rendered",
            share_of(len(detectors), wanted),
            wanted,
        ),
    ]


def _delivered(plate: Detection, read: PlateRead) -> Quad:
    """The corners that an observation of this plate gets."""
    if usable_read(read) is not None or plate.quad is None:
        return read.quad
    return plate.quad


def _distance(found: Quad, truth: Quad) -> float:
    """Mean distance of the corners, in parts of the plate's width."""
    return float(np.linalg.norm(found - truth, axis=1).mean()) / plate_width(truth)


def _error_figures(
    kind: str, what: str, errors: list[float], wanted: float | None
) -> Iterator[Figure]:
    mean, p90 = float(np.mean(errors)), float(np.quantile(errors, 0.9))
    for key, how, value, slack, floor in (
        ("mean", "mean, of the width", mean, CORNER_SLACK, wanted),
        ("p90", "90th percentile", p90, 3 * CORNER_SLACK, None),
    ):
        yield Figure(
            key=f"{kind}corner error {key}",
            what=f"{what}, {how}",
            of=RENDERED,
            value=value,
            cases=len(errors),
            slack=slack,
            wanted=floor,
            better="lower",
        )


def rendered(key: str, what: str, value: float, cases: int, wanted: float | None = None) -> Figure:
    """A share of rendered cases."""
    return Figure(
        key=f"{key}/rendered",
        what=what,
        of=RENDERED,
        value=value,
        cases=cases,
        slack=RENDERED_BORDERLINE,
        wanted=wanted,
    )


def crop(rng: np.random.Generator, design: object | None, *, harm: float = 1.0) -> Crop:
    """One plate, of a design or of any, in a small picture of its own."""
    from engines.training.plates import render_plate  # noqa: PLC0415 - needs Pillow

    plate = render_plate(rng, design)
    aspect = plate.image.shape[1] / plate.image.shape[0]
    size = float(rng.uniform(70, 190)) / max(1.0, harm) * min(1.0, max(aspect, 1.6) / 3.0)
    quad = posed(rng, aspect, steepest_deg=40.0 + 8 * harm) * np.float32(size)
    room = np.ceil(np.ptp(quad, axis=0) * 0.35 + 8)
    quad = quad - quad.min(0) + room
    width, height = (int(v) for v in np.ceil(quad.max(0) + room))
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.clip(rng.uniform(20, 200) + rng.uniform(-25, 25, 3), 0, 255).astype(np.uint8)
    rough = cv2.resize(rng.uniform(-40, 40, (4, 5)), (width, height), interpolation=cv2.INTER_CUBIC)
    image[:] = np.clip(image + rough[..., None], 0, 255).astype(np.uint8)
    paste(image, plate.image, quad, float(rng.uniform(0.65, 1.05)))
    off = rng.normal(0, CROP_JITTER * size * harm, (4, 2)).astype(np.float32)
    seen = (quad + off).astype(np.float32)
    box = (*seen.min(0).tolist(), *seen.max(0).tolist())
    return Crop(
        image=photographed(rng, image, harm=harm),
        place=Detection(label=PLATE_LABEL, score=1.0, box=box, quad=seen),
        text=plate.text,
        region=plate.region,
        design=plate.design,
    )


def of_every_design(times: int = A_DESIGN) -> Iterator[Crop]:
    """Each design several times; a design's plates do not depend on what other designs there are.

    Without dealers' frames: they hide the state's name, and with it what region it is. Texts that
    are too short to be published are drawn again.
    """
    from engines.training.plates import load_designs  # noqa: PLC0415 - needs Pillow

    for design in load_designs():
        for number in range(times):
            rng = np.random.default_rng((CROP_SEED, zlib.crc32(design.id.encode()), number))
            bare = replace(design, frame=0.0)
            each = crop(rng, bare)
            while len(each.text) < MIN_CHARS:
                each = crop(rng, bare)
            yield each


def design_figures(eyes: Eyes, times: int = A_DESIGN) -> list[Figure]:
    """Regions and texts of rendered plates of every design."""
    said: list[tuple[Crop, Published]] = []
    for each in of_every_design(times):
        said.append((each, publish(eyes.read(each.image, [each.place])[0])))
    placed = [(c.region, p.region) for c, p in said if c.region != "unknown"]
    regions = [region_right(found, label, eyes.regions) for label, found in placed]
    countries = [found.split("-")[0] == label.split("-")[0] for label, found in placed]
    texts = [p.text == c.text for c, p in said]
    rows = (
        ("region", "region right", regions, REGION_WANTED),
        ("region country", "country right", countries, None),
        ("exact", "exact reads of every design", texts, None),
    )
    return [
        rendered(key, what, share_of(sum(right), len(right)), len(right), wanted)
        for key, what, right, wanted in rows
    ]
