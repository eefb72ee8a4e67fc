"""The text of each port of `service/ports.py`, as tests that every implementation has to pass."""
