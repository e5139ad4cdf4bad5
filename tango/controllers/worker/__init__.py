"""The worker's controller: replicas, attempts, requests, quotas and usage of one node; no I/O."""

from tango.controllers.worker.controller import WorkerController

__all__ = ["WorkerController"]
