"""The demo clip: five vehicles on a street, and the truth about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.demo.plates import WHITE_EU, WHITE_UK, YELLOW_UK
from alprd.demo.scene import Car, PinholeCamera, draw_car, draw_road

FPS = 15.0
PLATE_HEIGHT_M = 0.475
"""The middle of a plate of 110 mm that is mounted as the scene does."""

DEMO_CARS: tuple[Car, ...] = (
    Car(plate="KA67 RVE", style=WHITE_UK, body=(60, 45, 150), x_m=-1.7, speed_mps=-9.5),
    Car(
        plate="HV 384 TL",
        style=WHITE_EU,
        body=(150, 140, 135),
        x_m=1.7,
        speed_mps=7.0,
        start_z_m=6.0,
        enters_s=1.2,
    ),
    Car(
        plate="B 7295 MX", style=WHITE_EU, body=(70, 62, 58), x_m=-1.6, speed_mps=-8.5, enters_s=4.0
    ),
    Car(
        plate="WN53 JKU",
        style=YELLOW_UK,
        body=(165, 95, 45),
        x_m=1.6,
        speed_mps=6.5,
        start_z_m=6.0,
        enters_s=5.2,
    ),
    Car(
        plate="CX 629 PD",
        style=WHITE_EU,
        body=(205, 205, 208),
        x_m=-1.7,
        speed_mps=-10.5,
        enters_s=7.6,
    ),
)
DEMO_SECONDS = 12.0


def render_frames(
    cars: Sequence[Car],
    *,
    seconds: float,
    fps: float = FPS,
    camera: PinholeCamera | None = None,
    seed: int = 7,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a clip, (H, W, 3) uint8 BGR; the same for the same arguments."""
    camera = camera or PinholeCamera()
    rng = np.random.default_rng(seed)
    road = draw_road(camera, rng)
    shape = (camera.height_px, camera.width_px)
    grain = [rng.normal(0.0, 2.5, shape).astype(np.float32)[..., None] for _ in range(8)]
    for number in range(round(seconds * fps)):
        t_s = number / fps
        picture = road.copy()
        shown = sorted((car for car in cars if car.visible(t_s)), key=lambda c: -c.z_m(t_s))
        for car in shown:
            draw_car(camera, picture, car, t_s)
        yield np.clip(picture + grain[number % len(grain)], 0, 255).astype(np.uint8)


def measured_road(camera: PinholeCamera | None = None) -> dict[str, object]:
    """[cameras.speed] as somebody would have it who measured this street."""
    camera = camera or PinholeCamera()
    places = np.array([(x, 0.0, z) for z in (9.0, 16.0, 26.0) for x in (-2.5, 2.5)])
    return {
        "frame_size": [camera.width_px, camera.height_px],
        "points": camera.project(places).round(1).tolist(),
        "metres": places[:, [0, 2]].tolist(),
        "plate_height_m": PLATE_HEIGHT_M,
        "plate_height_error_m": 0.02,
        "camera_height_m": camera.height_m,
        "camera_height_error_m": 0.02,
    }


def clip_path(folder: Path) -> Path:
    """Where the demo clip lies in `folder`; what is there was rendered by the same code.

    The name holds a digest of everything that the clip is made from.
    """
    return folder / f"demo-{_recipe()[:8]}.mp4"


def remove_clips(folder: Path) -> None:
    """Take the clips away that other versions of the code have rendered."""
    for old in folder.glob("demo-????????.mp4"):
        old.unlink()


def _recipe() -> str:
    """SHA-256 of this package's source and the library that draws and encodes."""
    digest = hashlib.sha256(cv2.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def write_clip(
    path: Path,
    cars: Sequence[Car] = DEMO_CARS,
    *,
    seconds: float = DEMO_SECONDS,
    fps: float = FPS,
    camera: PinholeCamera | None = None,
    seed: int = 7,
) -> None:
    """Render a clip into `path` (MPEG-4 part 2 in MP4, which every OpenCV can write).

    Raises:
        OSError: the file cannot be written; nothing is left behind under its final name.
    """
    camera = camera or PinholeCamera()
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        writer = cv2.VideoWriter(
            str(part), cv2.VideoWriter.fourcc(*"mp4v"), fps, (camera.width_px, camera.height_px)
        )
        if not writer.isOpened():
            raise OSError(f"cannot write {path}: does its folder exist, and may you write there?")
        frames = 0
        for frame in render_frames(cars, seconds=seconds, fps=fps, camera=camera, seed=seed):
            writer.write(frame)
            frames += 1
        writer.release()
        if _frames_in(part) != frames:  # OpenCV tells of no failed write
            raise OSError(f"cannot write {path}: is the disk full?")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _frames_in(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return frames
