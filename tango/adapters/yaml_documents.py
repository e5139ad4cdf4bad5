"""YAML documents with the line of every key, by the YAML 1.2 core schema and nothing beyond it."""

from __future__ import annotations

import re

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tango.adapters.document_items import Item
from tango.adapters.documents import Section, decode_document
from tango.model.errors import InvalidField

MAX_NODES = 20_000
MAX_DEPTH = 32
MAX_NUMBER_CHARS = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {
    text: value
    for value, texts in ((True, "true True TRUE"), (False, "false False FALSE"))
    for text in texts.split()
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_UNTAGGED = "untagged"
_TEXT_TAG = "tag:yaml.org,2002:str"


class _TooMuchError(Exception):
    """A document that is too big or too deep, at a place in it."""

    def __init__(self, problem: str, mark: yaml.Mark | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.mark = mark


class _Loader(yaml.BaseLoader):
    """Composes nodes only: no object is ever constructed, whatever the tags say.

    Depth and number of nodes are bounded while composing, which is recursive.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def resolve(self, kind: type[Node], value: object, implicit: object) -> str:
        """Leave the type of what carries no tag to _scalar."""
        return _UNTAGGED

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH or self._nodes > MAX_NODES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            if self._depth > MAX_DEPTH:
                raise _TooMuchError(f"is nested more than {MAX_DEPTH} deep", mark)
            raise _TooMuchError(f"holds more than {MAX_NODES} values", mark)
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def parse_yaml(data: bytes | str, file: str) -> tuple[Section, ...]:
    """The documents of a YAML stream, each a mapping; empty ones between '---' are left out.

    Numbers, booleans and null are those of the YAML 1.2 core schema (yaml.org/spec/1.2.2, 10.3):
    `no` and `1:30` are texts. Tags, merge keys, keys that are not texts and keys given twice are
    refused. Raises InvalidField with file, line and column.
    """
    text = decode_document(data, file)
    loader = None
    try:
        loader = _Loader(text)
        nodes: list[Node] = []
        while loader.check_node():
            node = loader.get_node()
            if node is not None and not _is_null(node):
                nodes.append(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"is not YAML: {error.problem or error.context}"
        raise InvalidField("document", problem, _hint(text, mark), _at(file, mark)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise InvalidField(
            "document",
            f"holds the character U+{ord(text[error.position]):04X}, which YAML does not allow",
            "remove it or write it as an escape in double quotes",
            f"{file}:{line}:{column}",
        ) from None
    except _TooMuchError as error:
        raise InvalidField("document", error.problem, "", _at(file, error.mark)) from None
    finally:
        if loader is not None:
            loader.dispose()
    converter = _Converter(file)
    sections = [converter.section(node) for node in nodes]
    if not sections:
        raise InvalidField("document", "is empty", "write at least one mapping", file)
    return tuple(sections)


class _Converter:
    """Nodes to Items. Aliases share nodes, so expansion is bounded by a count of its own."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0

    def section(self, node: Node) -> Section:
        if not isinstance(node, MappingNode):
            kind = "a list" if isinstance(node, SequenceNode) else "a single value"
            raise self._error("document", node, f"is {kind}, not a mapping", "write 'key: value'")
        items = self._mapping(node, "", 1)
        return Section(self._file, "", node.start_mark.line + 1, items)

    def _mapping(self, node: MappingNode, path: str, depth: int) -> dict[str, Item]:
        items: dict[str, Item] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            field = f"{path}.{key}" if path else key
            if key in items:
                problem = f"is given twice, first in line {lines[key]}"
                raise self._error(field, key_node, problem, "keep one")
            lines[key] = key_node.start_mark.line + 1
            items[key] = self._item(value_node, field, lines[key], depth + 1)
        return items

    def _key(self, node: Node, path: str) -> str:
        if not isinstance(node, ScalarNode):
            raise self._error(path or "document", node, "has a key that is not a text", "quote it")
        key = node.value
        if key == "<<" and node.style is None:
            problem = "uses a merge key ('<<'), which is not supported"
            raise self._error(path or "document", node, problem, "write the keys out")
        assert isinstance(key, str)
        if not key:
            raise self._error(path or "document", node, "has an empty key", "give it a name")
        return key

    def _item(self, node: Node, field: str, line: int, depth: int) -> Item:
        self._count += 1
        if self._count > MAX_NODES:
            problem = f"holds more than {MAX_NODES} values once its aliases are expanded"
            raise self._error("document", node, problem, "")
        if depth > MAX_DEPTH:
            raise self._error(field, node, f"is nested more than {MAX_DEPTH} deep", "")
        if node.tag != _UNTAGGED and not (isinstance(node, ScalarNode) and node.tag == _TEXT_TAG):
            raise self._error(field, node, f"has the tag {node.tag!r}", "remove it")
        if isinstance(node, MappingNode):
            return Item(self._mapping(node, field, depth), line)
        if isinstance(node, SequenceNode):
            parts = [
                self._item(part, f"{field}[{index}]", part.start_mark.line + 1, depth + 1)
                for index, part in enumerate(node.value)
            ]
            return Item(parts, line)
        assert isinstance(node, ScalarNode)
        plain = node.style is None and node.tag == _UNTAGGED
        return Item(_scalar(node.value), line, node.value) if plain else Item(node.value, line)

    def _error(self, field: str, node: Node, problem: str, fix: str) -> InvalidField:
        return InvalidField(field, problem, fix, _at(self._file, node.start_mark))


def _scalar(text: str) -> str | int | float | bool | None:
    """A plain scalar by the YAML 1.2 core schema, without its .inf and .nan."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if len(text) <= MAX_NUMBER_CHARS:
        if _INTEGER.fullmatch(text):
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            return int(text, base)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and node.value in _NULL


def _at(file: str, mark: yaml.Mark | None) -> str:
    return file if mark is None else f"{file}:{mark.line + 1}:{mark.column + 1}"


def _hint(text: str, mark: yaml.Mark | None) -> str:
    """What usually lies behind a syntax error at this place."""
    if mark is None:
        return ""
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: mark.column + 1]:
        return "indent with spaces, not tabs"
    return "check quotes, colons and indentation there"
