"""One embedded cluster for each module of end-to-end tests: two sites, a worker each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from cluster_at_work import ClusterAtWork, running

from tango.sdk.client import Client


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterAtWork]:
    with running(tmp_path_factory.mktemp("e2e") / "state") as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: ClusterAtWork) -> AsyncIterator[Client]:
    async with Client(cluster.state_dir) as client:
        yield client


@pytest.fixture
def grouped(cluster: ClusterAtWork) -> ClusterAtWork:
    """The cluster, on a machine where it has control groups."""
    if not cluster.groups("a1"):
        pytest.skip("no control groups here: they take root, or a delegated tree")
    return cluster
