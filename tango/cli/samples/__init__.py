"""Payload of the demo: real programs, each a process, on the standard library alone."""
