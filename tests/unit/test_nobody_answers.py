"""What a command says where the cluster of its state directory does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tango.cli.main import tango
from tango.model.errors import Unavailable
from tango.sdk.cluster_file import ClusterFile, write_cluster_file
from tango.sdk.embedded import PIDS

GONE = "nothing answers at 127.0.0.1:1: connection refused"


@pytest.mark.parametrize(
    ("ours", "said"), [(True, f"{GONE}; `tango up --state STATE` starts it again"), (False, GONE)]
)
def test_what_tango_up_started_it_starts_again(tmp_path: Path, ours: bool, said: str) -> None:
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("x" * 32)
    write_cluster_file(tmp_path, ClusterFile("127.0.0.1:1", (), token_file="token"))
    if ours:
        (tmp_path / PIDS).write_text("[]")
    words = ["get", "jobs", "--state", str(tmp_path)]
    done = CliRunner().invoke(tango, words, standalone_mode=False)
    assert type(done.exception) is Unavailable
    assert str(done.exception) == said.replace("STATE", str(tmp_path))
