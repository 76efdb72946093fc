"""The values that travel through alprd; all immutable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

BoxPx = tuple[float, float, float, float]
"""x1, y1, x2, y2 in full-frame pixels, half-open (x2 and y2 lie outside)."""

PointPx = tuple[float, float]
"""x, y in full-frame pixels."""

PLATE_LABEL = "plate"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The characters a plate's text is made of; index 36 of every posterior is the blank."""

BLANK = len(ALPHABET)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceSurface:
    """A picture in the memory of the GPU; only `inference/` looks inside.

    Attributes:
        format: how it is laid out: "nv12" (luma from 16 to 235, and chroma of half the size),
            "nv12-full" (the same with luma from 0 to 255), "rgb" or "bgr" (one plane).
        width, height: pixels; nv12 of an odd size is stored with the next even one.
        pointers: device addresses in the GPU's primary context: of luma and chroma, of an nv12
            picture of either range; else of its only plane.
        pitch: bytes from one row to the next, in every plane.
        owner: whoever works on the pointers holds this (or the surface); the memory is used again
            for another picture when nobody does any more.
        to_host: the picture as (H, W, 3) uint8, BGR, read-only. It copies at its first call and
            gives the same array from then on; from any thread. Raises `ports.CameraError`.
    """

    format: str
    width: int
    height: int
    pointers: tuple[int, ...]
    pitch: int
    owner: object
    to_host: Callable[[], NDArray[np.uint8]]


FrameImage = NDArray[np.uint8] | DeviceSurface
"""(H, W, 3) uint8, BGR, read-only, in memory; or a picture that is still on the GPU."""


def host_image(image: FrameImage) -> NDArray[np.uint8]:
    """(H, W, 3) the picture in memory. Raises `ports.CameraError` if a GPU does not give it."""
    return image.to_host() if isinstance(image, DeviceSurface) else image


def image_size(image: FrameImage) -> tuple[int, int]:
    """(width, height), pixels, wherever the picture is."""
    if isinstance(image, DeviceSurface):
        return image.width, image.height
    return int(image.shape[1]), int(image.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture of one camera.

    Attributes:
        camera_id: the camera's id.
        seq: counts the frames that the camera delivered since it was opened, from 0.
        captured_at: aware UTC wall time, for people.
        t_s: seconds on the camera's own steady axis (monotonic clock for live sources, the
            stream's presentation time for files); the only time that speeds and time-outs use.
        image: where the camera's decoder left it; outside `inference/` ask for `host_image()`.
    """

    camera_id: str
    seq: int
    captured_at: datetime
    t_s: float
    image: FrameImage

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), pixels; looks at no pixel."""
        return image_size(self.image)

    def host_image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, BGR, read-only; copied from the GPU at most once per frame.

        Raises:
            ports.CameraError: the GPU does not give it.
        """
        return host_image(self.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfStream:
    """A file or folder was read to its end (or the camera was taken away): no frame follows."""

    camera_id: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """One object found in a frame.

    Attributes:
        label: "plate", or a vehicle type such as "car".
        score: 0..1.
        box: full-frame pixels, half-open.
        quad: (4, 2) float32 corners in full-frame pixels, clockwise from the plate's own top
            left; None for everything that is not a plate.
    """

    label: str
    score: float
    box: BoxPx
    quad: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlateRead:
    """What the reader saw on one plate in one frame.

    Attributes:
        text: the most probable characters, A-Z0-9, without blanks; may be empty.
        char_probs: (n, 37) float32 posteriors over `ALPHABET` and the blank, n = len(text).
        quad: (4, 2) float32 full-frame pixels, clockwise from the plate's own top left.
        t_s: the frame's time.
        score: the detector's score of this plate, 0..1.
        quality: the reader's own estimate that the whole text is right, 0..1; None if the model has
            no such output.
        regions: (code, probability) of the most probable issuing regions, best first; empty if the
            model has no region output.
        sharpness: variance of the Laplacian of the rectified crop; greater is sharper.
        refined: (4, 2) float32 full-frame pixels: where the reader itself sees the plate's corners,
            however sure it is; None if the model has no such output, or they make no sense.
    """

    text: str
    char_probs: NDArray[np.float32]
    quad: NDArray[np.float32]
    t_s: float
    score: float
    quality: float | None = None
    regions: tuple[tuple[str, float], ...] = ()
    sharpness: float = 0.0
    refined: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One possible text of a plate with its probability."""

    plate: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Issuing country, or country and state (ISO 3166, "GB" or "US-CA")."""

    code: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """Where a vehicle went.

    Attributes:
        label: approaching, receding, left or right, as seen in the picture.
        heading_deg: 0 is up in the picture, clockwise; None when the plate only grew or shrank.
        zone: "in" or "out" when a counting line was crossed, else None.
        confidence: how well the end that the vehicle showed agrees with it, 0..1; None where that
            is not known.
    """

    label: str
    heading_deg: float | None
    zone: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A measured speed.

    Attributes:
        kmh: the speed.
        stderr_kmh: its standard error.
        calibration: name of the calibration that it rests on (sha256:...).
        unit: what people get to see: "kmh" or "mph".
        limit_kmh: the speed limit; None for none.
        speeding: whether the limit was surely exceeded; None without a limit.
    """

    kmh: float
    stderr_kmh: float
    calibration: str
    unit: str = "kmh"
    limit_kmh: float | None = None
    speeding: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """What a classifier's head says of a vehicle; value and confidence are None when unknown."""

    name: str
    value: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """The vehicle that carries the plate.

    Attributes:
        type: the detector's, or a classifier's finer one.
        confidence: of the type.
        box: where it was seen.
        attributes: one per head of every classifier; none without classifiers.
        reversing: whether it drove backwards; None where view and motion do not tell.
    """

    type: str
    confidence: float
    box: BoxPx
    attributes: tuple[Attribute, ...] = ()
    reversing: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A vehicle went over a counting line.

    Attributes:
        line: the line's name.
        label: in or out.
        wrong_way: whether that was against the line's allowed direction.
        checked: whether the line has an allowed direction.
        t_s: when, on the camera's steady axis.
        at: the same as wall time, in an event.
    """

    line: str
    label: str
    wrong_way: bool
    checked: bool
    t_s: float
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneVisit:
    """A vehicle was inside a zone.

    Attributes:
        zone: the zone's name.
        dwell_s: how long, as far as it was seen there.
        entered: False for one that was there when it came into sight.
        left: False for one that was there when it was seen last.
    """

    zone: str
    dwell_s: float
    entered: bool
    left: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EventImage:
    """The picture of a pass, as its event names it.

    Attributes:
        file: path of the JPEG below the folder of the pictures.
        sha256: of the file, hexadecimal.
        size_bytes: of the file.
        width_px, height_px: of the picture.
        crop: what it shows: frame, vehicle or plate.
        plates: which plates can be read on it: shown, own or covered.
        captured_at: when it was taken.
        topic: where it is sent; None where it is only kept.
    """

    file: str
    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    crop: str
    plates: str
    captured_at: datetime
    topic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateEvent:
    """One vehicle pass, before the outbox gives it its sequence number.

    `quad` is ((x, y) * 4), `frame_size` is (width, height); `reads_count` plates were read over the
    pass and `reads_agreeing` of them gave `plate`, as it is or before the region's format settled
    its look-alikes. `lists` names the plate lists that it is on. `plate` and `confidence` are None
    and `quad` is empty for a vehicle without a readable plate. `wrong_way` is None when no line
    with an allowed direction was crossed; `dwell_s` is how long it was in sight until the event,
    and `stationary` whether it stood then. `continues` is the id of the event that the pass had
    before it went the wrong way. `vehicle_ids` are the camera's numbers of the vehicle's tracks.
    """

    event_id: str
    camera_id: str
    plate: str | None
    confidence: float | None
    char_confidences: tuple[float, ...]
    candidates: tuple[Candidate, ...]
    region: Region | None
    reads_count: int
    reads_agreeing: int
    first_seen: datetime
    last_seen: datetime
    captured_at: datetime
    direction: Direction | None
    speed: Speed | None
    vehicle: Vehicle | None
    quad: tuple[PointPx, ...]
    frame_size: tuple[int, int]
    lists: tuple[str, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    zones: tuple[ZoneVisit, ...] = ()
    wrong_way: bool | None = None
    dwell_s: float | None = None
    stationary: bool | None = None
    continues: str | None = None
    image: EventImage | None = None
    vehicle_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """A camera's state as others see it.

    Attributes:
        state: online, stalled, offline, ended (a file that is not looped) or disabled.
        fps: frames per second taken from the source over the last seconds; None before the first.
        dropped: frames replaced by newer ones before inference took them, since start.
        last_frame_age_s: None when no frame has come yet.
        last_error: one line without credentials; None while all is well.
        light: day, night or infrared; None when that is not known.
    """

    camera_id: str
    state: str
    fps: float | None = None
    dropped: int = 0
    last_frame_age_s: float | None = None
    last_error: str | None = None
    light: str | None = None
