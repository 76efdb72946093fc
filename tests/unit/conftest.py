"""How the models were made is no part of the wheel that is tested: it is found in the tree."""

import sys
from pathlib import Path
from types import ModuleType

# Not the tree itself on the path: alprd must come from what was installed.
if "engines" not in sys.modules:
    engines = ModuleType("engines")
    engines.__path__ = [str(Path(__file__).resolve().parents[2] / "engines")]
    sys.modules["engines"] = engines
