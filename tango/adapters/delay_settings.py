"""Strict reading of [delays], which says where the central master has round trips from."""

from __future__ import annotations

from pathlib import Path

from tango.adapters.documents import Section
from tango.model.names import check_name
from tango.model.settings import DelaySettings, DelaySource

_PLAIN = DelaySettings()
# Keys that one source has and the others have not.
_OF = {
    "path": DelaySource.FILE,
    "names": DelaySource.FILE,
    "url": DelaySource.GOLDPINGER,
    "ca_file": DelaySource.GOLDPINGER,
}


def read_delay_settings(document: Section, where: Path) -> DelaySettings:
    """[delays], all of it optional; paths are relative to the file. Raises InvalidField."""
    if "delays" not in document:
        return _PLAIN
    section = document.section("delays")
    source = section.choice("source", DelaySource, _PLAIN.source)
    for key, of in _OF.items():
        if key in section and source is not of:
            problem = f"is for source = {of.value!r}, and this is {source.value!r}"
            raise section.error(key, problem, "remove it, or name that source")
    settings = DelaySettings(
        source=source,
        path=_path(section, "path", where),
        names=_path(section, "names", where),
        url=section.string("url", ""),
        ca_file=_path(section, "ca_file", where),
        every_s=section.number("every_s", _PLAIN.every_s, low=1, high=3600),
        updates=section.integer("updates", _PLAIN.updates, low=1, high=100),
        max_age_s=section.number("max_age_s", _PLAIN.max_age_s, low=1, high=86_400),
        nodes=_nodes(section),
    )
    if source is DelaySource.FILE and not settings.path:
        raise section.error("path", "is missing", "name the file with the round trips")
    if source is DelaySource.GOLDPINGER and not settings.url:
        raise section.error("url", "is missing", 'write url = "http://goldpinger:8080"')
    if source is DelaySource.OWN and settings.nodes:
        raise section.error("nodes", "is for other sources", "edges name their own nodes")
    return settings


def _path(section: Section, key: str, where: Path) -> str:
    text = section.string(key, "")
    return str(where.absolute().parent / text) if text else ""


def _nodes(section: Section) -> tuple[tuple[str, str], ...]:
    found = section.string_map("nodes")
    for name, node in found:
        edge, separator, rest = node.partition("/")
        if not separator:
            raise section.error("nodes", f"{name} is {node!r}", 'write "site/node"')
        check_name(edge, section.field("nodes"))
        check_name(rest, section.field("nodes"))
    return found
