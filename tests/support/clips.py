"""Small video files made on the fly; the number of a frame can be read off its brightness."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

STEP = 8
"""Brightness from one frame to the next."""


def numbered_frame(number: int, width_px: int = 320, height_px: int = 240) -> NDArray[np.uint8]:
    """A grey picture that carries a number from 0 to 30, with a darker left half."""
    image = np.full((height_px, width_px, 3), min(number * STEP + 8, 255), np.uint8)
    image[:, : width_px // 2] //= 2
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number that a `numbered_frame` carries, from its right quarter."""
    width_px = image.shape[1]
    return round((float(image[:, 3 * width_px // 4 :].mean()) - 8) / STEP)


def write_clip(
    path: Path,
    *,
    frames: int = 25,
    fps: int = 25,
    size_px: tuple[int, int] = (320, 240),
    repeats: int = 0,
    codec: tuple[str, ...] = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "10"),
) -> Path:
    """Encode `numbered_frame(0)`, 1, ... (counted modulo 30) with ffmpeg; the suffix decides.

    Args:
        repeats: the encoded clip is appended to itself so many times, without encoding again.
    """
    if shutil.which("ffmpeg") is None:
        pytest.fail("ffmpeg is missing; apt-get install ffmpeg")
    width_px, height_px = size_px
    once = path if repeats == 0 else path.with_stem(path.stem + "-once")
    raw = b"".join(
        numbered_frame(number % 30, width_px, height_px).tobytes() for number in range(frames)
    )
    layout = f"-f rawvideo -pix_fmt bgr24 -s {width_px}x{height_px} -r {fps} -i -".split()
    run_ffmpeg([*layout, *codec, "-pix_fmt", "yuv420p", str(once)], data=raw)
    if repeats:
        run_ffmpeg(["-stream_loop", str(repeats), "-i", str(once), "-c", "copy", str(path)])
    return path


def run_ffmpeg(arguments: list[str], data: bytes | None = None) -> None:
    """Run ffmpeg quietly; its complaint is the test's failure."""
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments],
        input=data,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"ffmpeg failed: {done.stderr.decode(errors='replace')[-600:]}")
