"""Python processes of tests that know the tests' own modules."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def python(
    module: ModuleType, *arguments: str, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a module of `support` as a program; it is gone at the end."""
    script = str(module.__file__)
    child = subprocess.Popen(
        [sys.executable, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(script).parents[1]), *sys.path]),
            **(environ or {}),
        },
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait(10.0)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
