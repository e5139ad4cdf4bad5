"""The payload's parent on a node: starts replicas and tasks, keeps their logs and exit codes.

It outlives the worker, so that a restarted worker finds its replicas running and every end with
its true exit code. Start it with `python -m tango.supervisor --state DIR [--socket PATH]`; the
worker talks to it over a unix socket as `tango.supervisor.protocol` writes down, and nobody
imports it. Standard library only, one thread, no asyncio, and careful about what it imports:
pathlib, typing, dataclasses, subprocess, argparse and logging would each cost 0.8 to 2 MiB of
resident memory on every node (measured on Python 3.11), so none of them is used here.
"""
