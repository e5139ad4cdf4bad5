"""Every file of a cluster at work is in docs/node-files.md, and open to its owner only."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from cluster_at_work import ClusterAtWork, job, ready, service

from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

DOCUMENT = Path(__file__).parents[2] / "docs" / "node-files.md"
# Names that carry a key, a number or a daemon's name, as the document writes them.
WRITTEN_AS = (
    (re.compile(r"runs/.+\.json"), "runs/KEY.json"),
    (re.compile(r"ends/.+\.json"), "ends/KEY.json"),
    (re.compile(r"pipes/.+"), "pipes/KEY"),
    (re.compile(r"logs/(central|site-.|node-..)\.log"), "logs/*.log"),
    (re.compile(r"logs/.+\.log(\.\d+)?"), "logs/KEY.log"),
    (re.compile(r"configs/.+\.toml"), "configs/*.toml"),
    (re.compile(r"(central|edge)\.db(-wal|-shm)?"), r"\1.db"),
)


def as_written(path: Path) -> str:
    name = str(path)
    name = re.sub(r"^(central|site-.|node-..)/", "", name)
    name = name.removeprefix("supervisor/")
    for pattern, written in WRITTEN_AS:
        if pattern.fullmatch(name):
            return pattern.sub(written, name)
    return name


async def test_every_file_is_documented_and_tight(cluster: ClusterAtWork, client: Client) -> None:
    await ready(client, service("files"))
    ended = await client.submit(job("true"))
    await client.submit(job("sleep", "600"))
    await client.wait(ended.job_id)
    text = DOCUMENT.read_text()
    found = cluster.files()
    assert len(found) > 25
    for path, status in found.items():
        if path.name == "lock.new":  # lives for the blink of an eye
            continue
        mode = status.st_mode
        name = path.relative_to(cluster.state_dir)
        assert status.st_uid == os.geteuid()
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), name
        if not stat.S_ISDIR(mode):
            assert f"`{as_written(name)}`" in text, f"{name} is not in {DOCUMENT.name}"
