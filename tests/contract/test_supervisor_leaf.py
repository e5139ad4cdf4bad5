"""The supervisor leaves the group that was delegated to it for a leaf; nothing else moves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tango.adapters.supervisor_start import wait_for_supervisor
from tango.ports import RuntimeLost
from tango.supervisor.leaf import enter_leaf
from tango.supervisor.release import release

UNIT = "tango.slice/tango-payload.service"


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """A unified hierarchy of plain files; a leaf's cgroup.procs is there, as in the kernel's."""
    leaf = tmp_path / UNIT / "supervisor"
    leaf.mkdir(parents=True)
    (leaf / "cgroup.procs").write_text("")
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    return tmp_path


def own(mount: Path, group: str) -> str:
    path = mount / "own"
    path.write_text(f"1:name=systemd:/elsewhere\n0::{group}\n")
    return str(path)


def test_it_enters_the_leaf(mount: Path) -> None:
    leaf = mount / UNIT / "supervisor"
    assert enter_leaf("supervisor", str(mount), own(mount, f"/{UNIT}")) == str(leaf)
    assert (leaf / "cgroup.procs").read_text() == str(os.getpid())


def test_in_the_leaf_already_nothing_is_written(mount: Path) -> None:
    group = f"{UNIT}/supervisor"
    assert enter_leaf("supervisor", str(mount), own(mount, f"/{group}")) == f"{mount}/{group}"
    assert (mount / group / "cgroup.procs").read_text() == ""


def test_the_root_group_is_not_ours_to_divide(mount: Path) -> None:
    assert enter_leaf("supervisor", str(mount), own(mount, "/")) == ""
    assert not (mount / "supervisor").exists()


def test_without_a_unified_hierarchy_there_is_nothing_to_do(mount: Path) -> None:
    (mount / "cgroup.controllers").unlink()
    assert enter_leaf("supervisor", str(mount), own(mount, f"/{UNIT}")) == ""


def test_a_group_that_is_not_ours_is_an_error(mount: Path) -> None:
    with pytest.raises(FileNotFoundError):
        enter_leaf("supervisor", str(mount), own(mount, "/gone.slice/gone.service"))


def test_a_supervisor_of_someone_else_is_waited_for_and_never_started(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.sock"
    with pytest.raises(RuntimeLost, match="tango-payload"):
        wait_for_supervisor(path, timeout_s=0.15)
    assert list(tmp_path.iterdir()) == []


def test_release_switches_controllers_off_from_the_leaves_up(
    mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = mount / UNIT
    order: list[str] = []
    for name in ("", "tango", "tango/lc", "tango/lc/replica"):
        (unit / name).mkdir(exist_ok=True)
        enabled = "" if name.endswith("replica") else "cpuset cpu memory\n"
        (unit / name / "cgroup.subtree_control").write_text(enabled)
    real_open = os.open

    def noted(path: str, flags: int) -> int:
        order.append(path)
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", noted)
    assert release(str(mount), own(mount, f"/{UNIT}/.control")) == 3
    control = [f"{unit}{name}/cgroup.subtree_control" for name in ("/tango/lc", "/tango", "")]
    assert order == control
    for path in control:
        assert Path(path).read_text().startswith("-cpuset -cpu -memory")


def test_release_leaves_alone_what_is_no_unit_of_ours(mount: Path) -> None:
    control = mount / UNIT / "cgroup.subtree_control"
    control.write_text("cpu\n")
    for group in ("/", "/.control", f"/{UNIT}", f"/{UNIT}/supervisor"):
        assert release(str(mount), own(mount, group)) == 0
    assert control.read_text() == "cpu\n"
