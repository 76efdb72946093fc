"""Rendered clips with known speeds, looked at by the real detector and reader."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np

from alprd.config import Settings
from alprd.core.types import Frame, PlateEvent
from alprd.demo.clip import write_clip
from alprd.demo.plates import WHITE_EU, WHITE_UK, YELLOW_UK
from alprd.demo.scene import Car, PinholeCamera
from alprd.inference.models import Models
from alprd.pipelines import new_pipeline

START = datetime(2026, 11, 21, 9, 12, 0, tzinfo=timezone.utc)
FPS = 15.0
SECONDS = 16.0
PLATE_HEIGHT_M = 0.475
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class RenderedPass:
    """A vehicle, and the event that told of it; None when none did."""

    car: Car
    event: PlateEvent | None


def make_street(number: int) -> tuple[PinholeCamera, list[Car]]:
    """A camera and six vehicles at 15 to 90 km/h, three each way."""
    rng = random.Random(number)  # noqa: S311 - the same in every run
    height_m = rng.uniform(2.6, 5.5)
    camera = PinholeCamera(
        height_m=height_m, tilt_deg=float(np.degrees(np.arctan2(height_m - 0.5, 17.0)))
    )
    cars, free_s = [], [0.0, 1.0]
    for i in range(6):
        away = i % 2 == 1
        speed = rng.uniform(15.0, 90.0) / 3.6
        text = "".join(rng.choices(LETTERS, k=2)) + f"{rng.randrange(100):02} "
        text += "".join(rng.choices(LETTERS, k=3))
        cars.append(
            Car(
                plate=text,
                style=rng.choice((YELLOW_UK, WHITE_EU) if away else (WHITE_UK, WHITE_EU)),
                body=(rng.randrange(40, 200), rng.randrange(40, 200), rng.randrange(40, 200)),
                x_m=1.7 if away else -1.7,
                speed_mps=speed if away else -speed,
                start_z_m=6.0 if away else 38.0,
                enters_s=free_s[away],
            )
        )
        free_s[away] += 32.0 / speed + 1.0
    return camera, cars


def passes(number: int, models: Models, folder: Path) -> Iterator[RenderedPass]:
    """Render a street, look at it as the daemon would, and match events with vehicles."""
    camera, cars = make_street(number)
    seconds = max(c.enters_s + 32.0 / abs(c.speed_mps) for c in cars) + 0.5
    clip = folder / f"street-{number}.mp4"
    write_clip(clip, cars, seconds=seconds, fps=FPS, camera=camera, seed=number)
    events = list(_events(clip, camera, models, random.Random(number)))  # noqa: S311
    clip.unlink()
    for car in cars:
        yield RenderedPass(car=car, event=next((e for e in events if e.plate == car.text), None))


def _events(
    clip: Path, camera: PinholeCamera, models: Models, rng: random.Random
) -> Iterator[PlateEvent]:
    made = Settings.model_validate(
        {
            "device_id": "bench",
            "cameras": [{"id": "street", "source": str(clip), "speed": _clicked(camera, rng)}],
        }
    )
    pipeline = new_pipeline(made, made.cameras[0])
    capture = cv2.VideoCapture(str(clip))
    seq = 0
    while True:
        fine, image = capture.read()
        if not fine:
            break
        t_s = seq / FPS
        at = START + timedelta(seconds=t_s)
        frame = Frame(camera_id="street", seq=seq, captured_at=at, t_s=t_s, image=image)
        (found,) = models.detector.detect([image])
        plates = pipeline.select(frame, found)
        reads = models.reader.read([(image, plate, t_s) for plate in plates])
        yield from pipeline.step(frame, found, reads)
        seq += 1
    capture.release()
    yield from pipeline.finish()


def _clicked(camera: PinholeCamera, rng: random.Random) -> dict[str, object]:
    """Places on the road, clicked to a pixel and measured to two centimetres."""
    places = [(x, 0.0, z) for z in (10.0, 15.0, 21.0, 29.0) for x in (-3.0, 3.0)]
    px = camera.project(np.array(places))
    size = (camera.width_px, camera.height_px)
    seen = [i for i, (x, y) in enumerate(px) if 2 <= x < size[0] - 2 and 2 <= y < size[1] - 2]
    return {
        "frame_size": size,
        "points": [(px[i, 0] + rng.gauss(0, 1.0), px[i, 1] + rng.gauss(0, 1.0)) for i in seen],
        "metres": [
            (places[i][0] + rng.gauss(0, 0.02), places[i][2] + rng.gauss(0, 0.02)) for i in seen
        ],
        "plate_height_m": PLATE_HEIGHT_M,
        "plate_height_error_m": 0.03,
        "camera_height_m": camera.height_m,
    }
