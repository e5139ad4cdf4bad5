"""Profiles in configuration: what [placement] means, and every wrong value named with its line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from placement_world import PLUGINS, node, room

from tango.adapters.master_settings import load_edge
from tango.adapters.placement_profiles import load_profile
from tango.algorithms.placement.fit import Fit
from tango.algorithms.placement.plugin import made
from tango.cli.config import check_file
from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT, Profile, Use

CONFIGS = Path(__file__).parents[2] / "configs"
EDGE = '[server]\nlisten = "127.0.0.1:1"\ntoken_file = "t"\nstate_dir = "s"\n[edge]\nname = "e"\n'
PACKED = """[placement]
name = "packed"
[[placement.plugins]]
name = "fit"
weight = 3
parameters = { strategy = "most" }
[[placement.plugins]]
name = "spread"
weight = 0
parameters = { most_per_node = 1 }
[[placement.plugins]]
name = "taints"
filters = false
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "profile.toml"
    path.write_text(text)
    return path


def test_the_shipped_profile_is_the_default() -> None:
    assert load_profile(CONFIGS / "placement.toml") == DEFAULT


def test_plugins_weights_and_parameters_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, PACKED)
    assert load_profile(path) == Profile(
        "packed",
        (
            Use("fit", 3.0, parameters=(("strategy", "most"),)),
            Use("spread", 0.0, parameters=(("most_per_node", 1),)),
            Use("taints", filters=False),
        ),
    )
    assert [use.where for use in load_profile(path).plugins] == [
        f"{path}:3", f"{path}:7", f"{path}:11"
    ]  # fmt: skip
    used = made(load_profile(path), room([node("a")]), PLUGINS)
    assert isinstance(used[0][1], Fit)


def test_the_profile_of_the_documentation(tmp_path: Path) -> None:
    text = (CONFIGS.parent / "docs" / "placement.md").read_text()
    found = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (block,) = (one for one in found if "[placement]" in one)
    profile = load_profile(written(tmp_path, block))
    assert [use.plugin for use in profile.plugins] == ["fit", "lr-scheduler", "balanced"]
    assert len(made(profile, room([node("a")]), PLUGINS)) == 3


def test_an_edge_has_the_default_profile_or_its_own(tmp_path: Path) -> None:
    path = written(tmp_path, EDGE)
    assert load_edge(path).placement == DEFAULT
    path.write_text(EDGE + PACKED)
    assert load_edge(path).placement.name == "packed"
    # The file of a daemon will do as a profile.
    assert load_profile(path) == load_edge(path).placement


PLUGIN = '[[placement.plugins]]\nname = "fit"\n'


@pytest.mark.parametrize(
    ("text", "line", "field", "said"),
    [
        ("", 0, "placement", "is missing"),
        ("[placement]\n", 1, "placement.plugins", "is missing"),
        ("[placement]\nplugins = []\n", 2, "placement.plugins", "is empty"),
        (PLUGIN.replace("fit", "fitt"), 2, "placement.plugins[0].name", "use one of: affinity, "),
        (PLUGIN + "wieght = 1\n", 3, "placement.plugins[0].wieght", "did you mean 'weight'?"),
        (PLUGIN + "weight = -1\n", 3, "placement.plugins[0].weight", "-1 is out of range"),
        (PLUGIN + "weight = inf\n", 3, "placement.plugins[0].weight", "out of range"),
        (PLUGIN + 'weight = "2"\n', 3, "placement.plugins[0].weight", "not a number"),
        (PLUGIN + "filters = 1\n", 3, "placement.plugins[0].filters", "not true or false"),
        (PLUGIN + PLUGIN, 4, "placement.plugins[1].name", "'fit' is there twice"),
        (
            PLUGIN + "parameters.stratgy = 'most'\n",
            3,
            "placement.plugins[0].parameters.stratgy",
            "did you mean 'strategy'?",
        ),
        (
            PLUGIN + "parameters.strategy = 1\n",
            3,
            "placement.plugins[0].parameters.strategy",
            "is the number 1, not a text",
        ),
        (
            PLUGIN.replace("fit", "spread") + "parameters.most_per_node = '1'\n",
            3,
            "placement.plugins[0].parameters.most_per_node",
            "is the text '1', not a whole number",
        ),
        (
            PLUGIN.replace("fit", "taints") + "parameters.hard = true\n",
            3,
            "placement.plugins[0].parameters",
            "taints has none",
        ),
        (PLUGIN + "[plugins]\n", 3, "plugins", "is not a known key"),
        ("[placment]\n", 1, "placement", "did you mean it by 'placment'?"),
    ],
)  # fmt: skip
def test_every_wrong_value_has_its_place(
    tmp_path: Path, text: str, line: int, field: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidField) as caught:
        load_profile(path)
    assert caught.value.field == field
    assert caught.value.where == (f"{path}:{line}" if line else str(path))
    assert said in str(caught.value)


def test_a_value_that_the_plugin_does_not_take_has_its_place_where_it_is_made(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, PLUGIN + 'parameters = { strategy = "best" }\n')
    told = f'{path}:1: fit.strategy: \'best\' is unknown; use "least" or "most"'
    with pytest.raises(InvalidField) as caught:
        made(load_profile(path), room([node("a")]), PLUGINS)
    assert str(caught.value) == told
    with pytest.raises(InvalidField) as caught:
        check_file(path)
    assert str(caught.value) == told
    path.write_text(EDGE + PLUGIN + 'parameters = { strategy = "best" }\n')
    with pytest.raises(InvalidField, match=r":7: fit\.strategy"):
        check_file(path)


def test_config_check_knows_profiles(tmp_path: Path) -> None:
    assert check_file(written(tmp_path, PACKED)) == ("the placement profile packed, 3 plugins", [])


class Own:
    """A plugin from elsewhere, with a parameter of every kind."""

    def __init__(self, room: object, path: str, share: float = 0.5, quick: bool = False) -> None:
        self.told = (path, share, quick)

    def scores(self, pod: object, among: object, out: object) -> bool:
        return False


def test_a_plugin_from_elsewhere_has_parameters_as_its_signature_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "tango.adapters.placement_profiles"
    monkeypatch.setattr(f"{module}.policy_names", lambda group: ("own",))
    monkeypatch.setattr(f"{module}.placement_plugins", lambda names: {"own": Own})
    own = PLUGIN.replace("fit", "own")
    path = written(tmp_path, own + 'parameters = { path = "x", share = 1, quick = true }\n')
    ((_, plugin),) = made(load_profile(path), room([node("a")]), {"own": Own})  # type: ignore[dict-item]
    assert isinstance(plugin, Own)
    assert plugin.told == ("x", 1.0, True)
    for parameters, said in (
        ("{ share = 1 }", "parameters.path: is missing"),
        ('{ path = "x", quick = 1 }', "parameters.quick: is the number 1, not true or false"),
        ('{ path = "x", share = "1" }', "parameters.share: is the text '1', not a number"),
    ):
        path.write_text(own + f"parameters = {parameters}\n")
        with pytest.raises(InvalidField) as caught:
            load_profile(path)
        assert said in str(caught.value)
    path.write_text(own)  # no parameters at all: known where it is made
    with pytest.raises(InvalidField, match=r"profile\.toml:1: configured\.own: .*'path'"):
        made(load_profile(path), room([node("a")]), {"own": Own})  # type: ignore[dict-item]


WITHOUT_NUMPY = "import sys; sys.modules['numpy'] = None; from tango.cli.main import main; main()"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["config", "check", str(CONFIGS)], 0, "cluster.yaml: document: was not read: that needs"),
        (["place", "--dry-run", "-f", str(CONFIGS / "job.yaml")], 1, "place: needs numpy, which"),
    ],
)
def test_without_numpy_it_is_said_what_to_install(words: list[str], status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY, *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "install the extra `solver`" in done.stderr


def test_parameters_of_a_plugin_that_needs_numpy_are_refused_without_it(tmp_path: Path) -> None:
    path = written(tmp_path, PACKED)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY, "config", "check", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{path}:4: placement.fit: 'fit' needs numpy, which is not installed" in done.stderr
