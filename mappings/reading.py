"""One reading of one document: what was found wrong, what found no place, what exists and what was referred to.

An item is flattened along the tree of names that the mapping knows; whatever stands outside the tree is loss. Findings beyond
a hundred are not collected.
"""

from collections.abc import Iterator
from typing import Any

from mappings.document import MAX_FINDINGS, children, escape, unescape
from mappings.draft import Loss
from mappings.errors import Finding
from mappings.fields import WrongValueError

Known = dict[str, tuple[str, Any]]
"""Property name → (path from the item, the `Known` below it or None for a leaf)."""


class Reading:
    """What one reading gathers. `ids`: draft id → pointer; `wanted`: (base, path, id or ids) to be found among them."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.findings: list[Finding] = []
        self.loss: list[Loss] = []
        self.ids: dict[str, str] = {}
        self.wanted: list[tuple[str, str, str | tuple[str, ...]]] = []
        self.residents: tuple[str, ...] = ()
        self.repeats: dict[str, int] = {}

    def fail(self, pointer: str, code: str, remedy: str) -> None:
        """Note a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(pointer=pointer, code=code, remedy=remedy))

    def wrong(self, base: str, path: str, wrong: WrongValueError) -> None:
        """Note a value that could not be read."""
        self.fail(below(base, path) + wrong.at, wrong.code, wrong.remedy)

    def add(self, identifier: str, pointer: str, key_pointer: str) -> None:
        """Note that an item exists; two items with one key are a finding."""
        if identifier in self.ids:
            self.fail(key_pointer, "duplicate", "give every item its own key: this one is taken")
        else:
            self.ids[identifier] = pointer

    def check_references(self) -> None:
        """Note every reference to nothing."""
        for base, path, value in self.wanted:
            single = isinstance(value, str)
            for index, identifier in enumerate((value,) if single else value):
                if identifier not in self.ids:
                    pointer = below(base, path) + ("" if single else f"/{index}")
                    scope = str(identifier).partition(":")[0]
                    self.fail(pointer, "reference", f"refer to a {scope} that stands in this document")

    def flatten(self, node: Any, known: Known, base: str) -> dict[str, Any]:
        """Return path → value of the leaves that the mapping knows; null is absent."""
        flat: dict[str, Any] = {}
        if "" in known:
            flat[""] = node
        elif type(node) is dict:
            self._flatten(node, known, flat, base)
        else:
            self.fail(base, "type", "give an object")
        return flat

    def _flatten(self, node: dict[str, Any], known: Known, flat: dict[str, Any], base: str) -> None:
        for name, value in node.items():
            if value is None:
                continue
            place = known.get(name)
            if place is None:
                self.loss += (
                    Loss(pointer=leaf, reason="not-mapped") for leaf in leaves(value, f"{base}/{escape(name)}")
                )
                continue
            path, inside = place
            if inside is None:
                flat[path] = value
            elif type(value) is dict:
                self._flatten(value, inside, flat, f"{base}/{escape(name)}")
            else:
                self.fail(f"{base}/{escape(name)}", "type", "give an object")


def below(base: str, path: str) -> str:
    """Return the pointer of a path from an item."""
    return f"{base}/{path}" if path else base


def leaves(node: Any, pointer: str) -> Iterator[str]:
    """Yield the pointer of every value under `node` that says something: null says nothing."""
    if not isinstance(node, (dict, list)):
        if node is not None:
            yield pointer
        return
    for token, child in children(node):
        yield from leaves(child, f"{pointer}/{token}")


def grow(known: Known, path: str) -> None:
    """Add a path to the tree of names. Raises ValueError when it runs through a leaf or ends on a branch."""
    tokens, here = path.split("/"), known
    for index, token in enumerate(tokens):
        last = index == len(tokens) - 1
        place = here.setdefault(unescape(token), ("/".join(tokens[: index + 1]), None if last else {}))
        if (place[1] is None) is not last:
            raise ValueError(path)
        here = place[1]


def put(item: dict[str, Any], names: tuple[str, ...], value: Any) -> None:
    """Set a value at a path of property names, making the objects on the way."""
    for name in names[:-1]:
        item = item.setdefault(name, {})
    item[names[-1]] = value
