"""Placement profiles as configuration writes them: the table [placement], of any TOML file."""

from __future__ import annotations

import inspect
from pathlib import Path

from tango.adapters.documents import Section
from tango.adapters.policies import placement_plugins, policy_names
from tango.adapters.toml_documents import load_toml
from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT, SPREAD, Profile, Use, Value

GROUP = "tango.placement"
MAX_WEIGHT = 1e6


def read_profile(document: Section) -> Profile:
    """[placement] of a document that is being read, DEFAULT where it has none.

    The plugins that it lists take the place of the default ones; `name = "spread"` alone is the
    rule without any. Each must be installed, and have
    the parameters that are given it; what it makes of their values is known where it is made for
    a room (`plugin.made`). Raises InvalidField with field, file and line.
    """
    if "placement" not in document:
        return DEFAULT
    return _profile(document.section("placement"))


def load_profile(path: Path | str) -> Profile:
    """[placement] of a file of its own, or of a daemon's configuration; it must be there.

    Raises InvalidField with field, file and line.
    """
    document = load_toml(Path(path))
    section = document.section("placement", required=True)
    profile = _profile(section)
    if "server" in document:  # a daemon's: the rest of it is that daemon's to check
        section.finish()
    else:
        document.finish()
    return profile


def _profile(section: Section) -> Profile:
    name = section.string("name", "configured")
    if name == SPREAD.name:
        if "plugins" in section:
            problem = f"a profile of plugins is not {SPREAD.name!r}, which has none"
            raise section.error("name", problem, "give it another name")
        return SPREAD
    uses: dict[str, Use] = {}
    for table in section.sections("plugins"):
        use = _use(table)
        if use.plugin in uses:
            raise table.error("name", f"{use.plugin!r} is there twice", "leave one of them out")
        uses[use.plugin] = use
    if not uses:
        raise section.error("plugins", "is empty", "list some, or leave out [placement]")
    return Profile(name, tuple(uses.values()))


def _use(table: Section) -> Use:
    plugin = table.string("name")
    known = policy_names(GROUP)
    if plugin not in known:
        problem = f"no placement plugin is named {plugin!r}"
        raise table.error("name", problem, f"use one of: {', '.join(known) or 'none is installed'}")
    return Use(
        plugin,
        table.number("weight", 1.0, low=0, high=MAX_WEIGHT),
        table.boolean("filters", True),
        _parameters(table, plugin),
        table.where(),
    )


def _parameters(table: Section, plugin: str) -> tuple[tuple[str, Value], ...]:
    """As the plugin's own signature has them: names, and types by its defaults."""
    section = table.section("parameters")
    if "parameters" not in table:
        return ()
    try:
        kind = placement_plugins([plugin])[plugin]
    except InvalidField as error:  # what it imports is not installed
        raise error.at(table.where("name")) from None
    takes = list(inspect.signature(kind).parameters.values())[1:]
    if not takes:
        raise table.error("parameters", f"{plugin} has none", "leave them out")
    found: list[tuple[str, Value]] = []
    for one in takes:
        if one.kind is one.VAR_KEYWORD:
            continue
        required = one.default is one.empty
        value = section.string(one.name) if required else _value(section, one.name, one.default)
        if one.name in section:
            found.append((one.name, value))
    return tuple(found)


def _value(section: Section, key: str, default: object) -> Value:
    match default:
        case bool():
            return section.boolean(key, default)
        case int():
            return section.integer(key, default, low=-(2**63))
        case float():
            return section.number(key, default)
    return section.string(key, "")
