"""Streets for the tiny models: pictures of vehicles that pass, one plate after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from support.clips import run_ffmpeg
from support.tiny_models import blank_picture, box_quad, draw_plate

SIZE = (320, 192)
"""The tiny detector's input, so that nothing is scaled."""

PLATE = (114, 39)


def pictures(plates: Sequence[str], *, seen: int = 12, gap: int = 6) -> Iterator[NDArray[np.uint8]]:
    """BGR frames in which each plate passes once, for `seen` frames, then `gap` empty ones."""
    for plate in plates:
        for step in range(seen):
            picture = blank_picture(SIZE)
            x, y = 24 + step * (150 // seen), 40 + step * (90 // seen)
            draw_plate(picture, plate, box_quad(x, y, x + PLATE[0], y + PLATE[1]))
            yield picture
        for _ in range(gap):
            yield blank_picture(SIZE)


def write_folder(folder: Path, plates: Sequence[str], *, seen: int = 12, gap: int = 6) -> Path:
    """The street as a folder of pictures without loss."""
    folder.mkdir()
    for number, picture in enumerate(pictures(plates, seen=seen, gap=gap)):
        cv2.imwrite(str(folder / f"{number:05}.png"), picture)
    return folder


def write_street_clip(
    path: Path,
    plates: Sequence[str],
    *,
    fps: int = 12,
    seen: int = 12,
    gap: int = 6,
    repeats: int = 0,
) -> Path:
    """The street as H.264, appended to itself `repeats` times."""
    once = path if repeats == 0 else path.with_stem(path.stem + "-once")
    raw = b"".join(picture.tobytes() for picture in pictures(plates, seen=seen, gap=gap))
    layout = f"-f rawvideo -pix_fmt bgr24 -s {SIZE[0]}x{SIZE[1]} -r {fps} -i -".split()
    codec = f"-c:v libx264 -preset ultrafast -crf 10 -bf 0 -g {fps} -pix_fmt yuv420p".split()
    run_ffmpeg([*layout, *codec, str(once)], data=raw)
    if repeats:
        run_ffmpeg(["-stream_loop", str(repeats), "-i", str(once), "-c", "copy", str(path)])
    return path
