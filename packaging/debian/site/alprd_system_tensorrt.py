"""Lets this private environment see the system's TensorRT, which JetPack brings, and nothing else.

A .pth file imports this at the start of the interpreter. An environment with all of the system's
packages would mix their numpy and OpenCV with ours.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder

NAMES = ("tensorrt", "tensorrt_dispatch", "tensorrt_lean")
FOLDERS = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib/python3.{sys.version_info.minor}/dist-packages",
)


class SystemTensorRT(MetaPathFinder):
    """Finds NAMES in the distribution's folders, after everything else has been asked."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None) -> ModuleSpec | None:  # noqa: ANN001
        """As importlib asks; a submodule is found by its package."""
        if fullname not in NAMES or path is not None:
            return None
        return PathFinder.find_spec(fullname, list(FOLDERS), target)


sys.meta_path.append(SystemTensorRT)
