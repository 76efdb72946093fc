"""The pure heart of alprd: geometry, tracking, voting, deduplication and events.

Nothing in this package reads a clock, starts a thread, does I/O or logs: every function's
answer depends on its arguments alone.
"""
