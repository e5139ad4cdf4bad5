"""Tango: latency-critical services and best-effort jobs, side by side on edge sites."""

__version__ = "0.1.0"
