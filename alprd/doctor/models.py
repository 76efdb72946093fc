"""The models and what runs them."""

from __future__ import annotations

from collections.abc import Iterator

from alprd.config import InferenceSettings
from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.inference.models import Models, load_models
from alprd.ports import EngineError


class ModelCheck:
    """Loads the models and proves them on their known plates.

    Args:
        settings: [inference].
    """

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self.models: Models | None = None
        """What was loaded; None when it cannot be used."""

    def close(self) -> None:
        """Give back what they hold."""
        if self.models is not None:
            self.models.close()

    def findings(self) -> Iterator[Finding]:
        """One line, and one per classifier that cannot be used."""
        try:
            self.models = load_models(self._settings)
        except EngineError as error:
            yield problem("models", str(error))
            return
        names = ", ".join(sorted(self.models.hashes))
        yield ok("models", f"{names} passed their self-tests on {self.models.backend}")
        stage = self.models.attributes
        for name, reason in {} if stage is None else stage.problems.items():
            yield warning("models", f"without the classifier {name}: {reason}")
