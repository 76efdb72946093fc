"""Inference: models from manifests, their backends, and the one thread that owns them."""
