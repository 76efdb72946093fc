"""A plane seen by a camera: from pixels to metres, with the uncertainty that a click leaves.

The homography is fitted by the normalised direct linear transform (Hartley and Zisserman, Multiple
View Geometry, 2nd edition, algorithm 4.2) and followed by one step that weights each point by its
own error, and its covariance is propagated to first order (the same book, chapter 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEGENERATE: Final = 1e-4
"""Ratio of singular values below which the points do not determine a plane."""

ENOUGH_TO_TELL: Final = 6
"""Points from which on one that is wrong can be told from the others; four fit anything."""

FOCAL_RANGE: Final = (0.2, 30.0)
"""Focal lengths that cameras have, in half diagonals of the picture."""


class PlaneError(ValueError):
    """The points do not determine the plane; the message is `problem; remedy`."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A plane in metres, as a camera sees it.

    Attributes:
        matrix: (3, 3) from undistorted pixels to metres, of norm 1; the third coordinate is
            positive in front of the camera.
        covariance: (9, 9) of its entries, row by row.
    """

    matrix: Floats
    covariance: Floats


def fit_plane(points_px: Floats, points_m: Floats, *, error_px: float, error_m: float) -> Plane:
    """The plane through points that are known in the picture and in metres.

    Args:
        points_px: (N, 2) undistorted pixels, N >= 4.
        points_m: (N, 2) metres, in the same order.
        error_px: standard error of each coordinate of `points_px`.
        error_m: the same of `points_m`.

    Raises:
        PlaneError: the points are too few, lie on one line, or contradict each other.
    """
    if len(points_px) < 4 or points_px.shape != points_m.shape:
        raise PlaneError(f"{len(points_px)} points do not determine a plane; give at least 4")
    start = _dlt(points_px, points_m)
    behind = to_depth(start, points_px)
    if not (bool((behind > 0.0).all()) or bool((behind < 0.0).all())):
        raise PlaneError(
            "the points in the picture and their metres do not follow the same order (their outline"
            " crosses itself in one of the two); give both lists in the same order"
        )
    if behind[0] < 0.0:
        start = -start
    try:
        matrix = _refined(start, points_px, points_m, error_px=error_px, error_m=error_m)
        covariance = _covariance(matrix, points_px, points_m, error_px=error_px, error_m=error_m)
    except np.linalg.LinAlgError:
        raise PlaneError(
            "the points and their metres contradict each other; correct them one by one"
        ) from None
    if not bool((to_depth(matrix, points_px) > 0.0).all()):
        raise PlaneError("the points put one of them behind the camera; correct them one by one")
    return Plane(matrix=matrix, covariance=covariance)


def odd_one_out(points_px: Floats, points_m: Floats) -> int | None:
    """The one point without which all others agree best; None with too few to tell."""
    if len(points_px) < ENOUGH_TO_TELL:
        return None
    off = []
    for i in range(len(points_px)):
        px, metres = np.delete(points_px, i, axis=0), np.delete(points_m, i, axis=0)
        try:
            plane = fit_plane(px, metres, error_px=1.0, error_m=0.01)
        except PlaneError:
            off.append(math.inf)
        else:
            off.append(float(np.hypot(*(to_pixels(plane.matrix, metres) - px).T).max()))
    best = min(range(len(off)), key=lambda i: off[i])
    return best if math.isfinite(off[best]) else None


def to_depth(matrix: Floats, points_px: Floats) -> Floats:
    """(N,) third coordinate of the mapped points: positive in front of the camera."""
    return np.asarray(points_px @ matrix[2, :2] + matrix[2, 2], dtype=np.float64)


def to_metres(matrix: Floats, points_px: Floats) -> Floats:
    """(N, 2) metres of (N, 2) undistorted pixels; not finite at the horizon."""
    mapped = points_px @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(mapped[:, :2] / mapped[:, 2:], dtype=np.float64)


def to_pixels(matrix: Floats, points_m: Floats) -> Floats:
    """(N, 2) undistorted pixels of (N, 2) metres."""
    return to_metres(np.asarray(np.linalg.inv(matrix), dtype=np.float64), points_m)


def metres_per_px(matrix: Floats, points_px: Floats) -> Floats:
    """(N, 2, 2) derivative of the metres (rows x, y) by the pixels (columns x, y)."""
    depth = to_depth(matrix, points_px)[:, None, None]
    mapped = to_metres(matrix, points_px)
    return np.asarray(
        (matrix[None, :2, :2] - mapped[:, :, None] * matrix[None, 2:, :2]) / depth,
        dtype=np.float64,
    )


def camera_height_m(matrix: Floats, centre_px: Floats, focal_px: float | None) -> float | None:
    """How high the camera is above the plane; None when the picture does not tell.

    A pinhole with square pixels whose axis meets the picture at `centre_px` sees two perpendicular
    unit vectors of the plane; that they are so fixes the focal length (the same book, section 8.6),
    and with it the camera's place.

    Args:
        matrix: from undistorted pixels to metres.
        centre_px: (2,) where the optical axis meets the picture.
        focal_px: the focal length, if it is known.
    """
    to_centre = np.array([[1.0, 0.0, centre_px[0]], [0.0, 1.0, centre_px[1]], [0.0, 0.0, 1.0]])
    try:
        view = np.linalg.inv(matrix @ to_centre)
    except np.linalg.LinAlgError:
        return None
    if focal_px is None:
        # Of equal importance whatever the unit of pixels is.
        scale = float(np.abs(view[:2, :2]).max()) or 1.0
        x, y = view[:, 0] / scale, view[:, 1] / scale
        flat = np.array([x[:2] @ y[:2], x[:2] @ x[:2] - y[:2] @ y[:2]])
        deep = np.array([x[2] * y[2], x[2] ** 2 - y[2] ** 2])
        inverse_square = -float(flat @ deep) / max(float(flat @ flat), 1e-300)
        focal_px = 1.0 / math.sqrt(inverse_square) if inverse_square > 0.0 else math.inf
        # One that looks straight down, or whose points are few and bad, tells no focal length.
        corner_px = float(np.linalg.norm(centre_px))
        if not FOCAL_RANGE[0] * corner_px <= focal_px <= FOCAL_RANGE[1] * corner_px:
            return None
    view = np.diag([1.0 / focal_px, 1.0 / focal_px, 1.0]) @ view
    length = math.sqrt(float(np.linalg.norm(view[:, 0]) * np.linalg.norm(view[:, 1])))
    if not length > 0.0:
        return None
    right, ahead, place = (view / length).T
    height = abs(float(np.cross(right, ahead) @ place))
    return height if math.isfinite(height) and height > 0.0 else None


def _dlt(points_px: Floats, points_m: Floats) -> Floats:
    px, from_px = _normalised(points_px)
    m, from_m = _normalised(points_m)
    rows = np.zeros((2 * len(px), 9))
    rows[0::2, 0:2] = rows[1::2, 3:5] = px
    rows[0::2, 2] = rows[1::2, 5] = 1.0
    rows[0::2, 6:8] = -px * m[:, :1]
    rows[0::2, 8] = -m[:, 0]
    rows[1::2, 6:8] = -px * m[:, 1:]
    rows[1::2, 8] = -m[:, 1]
    _, values, vectors = np.linalg.svd(rows)
    if values[7] < DEGENERATE * values[0]:
        raise PlaneError(
            "all points, or all but one, lie on one line; give four of which no three are in line"
        )
    matrix = np.linalg.inv(from_m) @ vectors[8].reshape(3, 3) @ from_px
    return np.asarray(matrix / np.linalg.norm(matrix), dtype=np.float64)


def _normalised(points: Floats) -> tuple[Floats, Floats]:
    """The points about their mean in units of their spread, and the matrix that does it."""
    mean = points.mean(axis=0)
    spread = float(np.sqrt(((points - mean) ** 2).sum(axis=1)).mean())
    if not spread > 0.0:
        raise PlaneError("all points are the same point; spread them over the road")
    scale = math.sqrt(2.0) / spread
    matrix = np.array([[scale, 0.0, -scale * mean[0]], [0.0, scale, -scale * mean[1]], [0, 0, 1.0]])
    return (points - mean) * scale, matrix


def _by_matrix(matrix: Floats, points_px: Floats) -> Floats:
    """(2N, 9) derivative of the points' metres by the matrix's entries."""
    depth = to_depth(matrix, points_px)
    mapped = to_metres(matrix, points_px)
    full = np.column_stack([points_px, np.ones(len(points_px))]) / depth[:, None]
    rows = np.zeros((2 * len(points_px), 9))
    rows[0::2, 0:3] = rows[1::2, 3:6] = full
    rows[0::2, 6:9] = -full * mapped[:, :1]
    rows[1::2, 6:9] = -full * mapped[:, 1:]
    return rows


def _roots(matrix: Floats, points_px: Floats, *, error_px: float, error_m: float) -> Floats:
    """(N, 2, 2) that turn an error in metres into one of covariance 1."""
    by_px = metres_per_px(matrix, points_px)
    spread = error_px**2 * by_px @ by_px.transpose(0, 2, 1) + error_m**2 * np.eye(2)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(spread)), dtype=np.float64)


def _weighted(
    matrix: Floats, points_px: Floats, *, error_px: float, error_m: float
) -> tuple[Floats, Floats]:
    """(2N, 9) derivatives in standard errors, and the (N, 2, 2) roots that made them so."""
    roots = _roots(matrix, points_px, error_px=error_px, error_m=error_m)
    rows = _by_matrix(matrix, points_px).reshape(-1, 2, 9)
    return (roots @ rows).reshape(-1, 9), roots


def _refined(
    matrix: Floats, points_px: Floats, points_m: Floats, *, error_px: float, error_m: float
) -> Floats:
    """The matrix after three steps of Gauss and Newton with every point's own weight."""
    if len(points_px) == 4:  # exact already
        return matrix
    for _ in range(3):
        rows, roots = _weighted(matrix, points_px, error_px=error_px, error_m=error_m)
        off = points_m - to_metres(matrix, points_px)
        step = _pseudo_inverse(rows) @ (roots @ off[:, :, None]).ravel()
        matrix = matrix + step.reshape(3, 3)
        matrix = matrix / np.linalg.norm(matrix)
    return matrix


def _covariance(
    matrix: Floats, points_px: Floats, points_m: Floats, *, error_px: float, error_m: float
) -> Floats:
    rows, roots = _weighted(matrix, points_px, error_px=error_px, error_m=error_m)
    inverse = _pseudo_inverse(rows)
    covariance = inverse @ inverse.T
    spare = 2 * len(points_px) - 8
    if spare > 0:
        # Points that fit worse than was promised make everything that much less sure.
        off = (roots @ (points_m - to_metres(matrix, points_px))[:, :, None]).ravel()
        covariance = covariance * max(1.0, float(off @ off) / spare)
    return np.asarray(covariance, dtype=np.float64)


def _pseudo_inverse(rows: Floats) -> Floats:
    """Of a matrix of rank 8: the scale of a homography means nothing."""
    sizes = np.linalg.norm(rows, axis=0)
    sizes = np.where(sizes > 0.0, sizes, 1.0)
    left, values, right = np.linalg.svd(rows / sizes, full_matrices=False)
    inverse = (right[:8].T / values[:8]) @ left[:, :8].T
    return np.asarray(inverse / sizes[:, None], dtype=np.float64)
