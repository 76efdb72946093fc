"""Cameras: sources of frames, one reconnecting thread each, and the mux that keeps the newest."""
