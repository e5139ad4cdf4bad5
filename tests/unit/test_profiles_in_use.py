"""The profile that a master's file names is the one that it places by; what it needs is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tango.adapters.master_settings import load_central, load_edge
from tango.adapters.placement_profiles import load_profile
from tango.adapters.replica_rules import replica_rule
from tango.algorithms.placement.spread import Spread
from tango.cli.config import check_file
from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT, SPREAD

EDGE = '[server]\nlisten = "127.0.0.1:1"\ntoken_file = "t"\nstate_dir = "s"\n[edge]\nname = "e"\n'
PACKED = """[placement]
name = "packed"
[[placement.plugins]]
name = "fit"
parameters = { strategy = "most" }
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "profile.toml"
    path.write_text(text)
    return path


def test_both_masters_read_it(tmp_path: Path) -> None:
    path = written(tmp_path, EDGE + PACKED)
    assert load_edge(path).placement.name == "packed"
    path.write_text(EDGE.replace('[edge]\nname = "e"\n', "[central]\n") + PACKED)
    assert load_central(path).placement.name == "packed"
    path.write_text(EDGE)
    assert load_edge(path).placement == DEFAULT


def test_spread_is_the_rule_without_plugins(tmp_path: Path) -> None:
    path = written(tmp_path, EDGE + '[placement]\nname = "spread"\n')
    assert load_edge(path).placement == SPREAD
    assert isinstance(replica_rule(load_edge(path).placement), Spread)
    path.write_text(PACKED.replace("packed", "spread"))
    with pytest.raises(InvalidField, match=r"profile.toml:2: placement.name: a profile of plugins"):
        load_profile(path)


def test_the_central_master_cannot_place_by_no_plugins(tmp_path: Path) -> None:
    text = EDGE.replace('[edge]\nname = "e"\n', '[central]\nbatch_policy = "profile"\n')
    path = written(tmp_path, text + '[placement]\nname = "spread"\n')
    with pytest.raises(InvalidField, match=r"profile.toml:\d+: placement.plugins: profile 'spr"):
        check_file(path)


def test_a_plugin_that_refuses_its_values_is_told_as_the_rule_is_made(tmp_path: Path) -> None:
    path = written(tmp_path, EDGE + PACKED.replace('"most"', '"both"'))
    with pytest.raises(InvalidField, match=rf"{path}:\d+: .*fit.strategy"):
        replica_rule(load_edge(path).placement)


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
from tango.adapters.replica_rules import installed, replica_rule
from tango.controllers.edge import EdgeController
from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT, SPREAD, Profile, Use
from tango.model.settings import EdgeSettings, ServerSettings
import tango.daemons.edge.main, tango.daemons.central.main, tango.sim.run
assert installed(DEFAULT) == SPREAD
own = Profile("own", (Use("fit"),))
assert installed(own) == own
settings = EdgeSettings(ServerSettings("", "", ""), "e", placement=installed(DEFAULT))
rule = replica_rule(settings.placement)
EdgeController(settings, incarnation=1, rule=rule)
try:
    replica_rule(own)
except InvalidField as error:
    print(rule.name, error)
"""


def test_an_edge_without_numpy_spreads_and_says_what_a_profile_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("spread placement: profile 'own' needs numpy, which is not ")
    assert 'or write name = "spread" and no plugins' in done.stdout
