"""The benchmark: the daemon's own mux, inference thread and pipelines, fed from memory or files."""
