"""A rendered street: clips with known plates, for the demo, the demo camera and the tests.

Everything is drawn from numbers (strokes, boxes, a pinhole camera), so it needs no font, no
photograph and no licence, and a seed gives the same clip everywhere.
"""
