"""One document under construction: items by key, merged when several parts go into one."""

from collections.abc import Iterable, Mapping
from typing import Any

from mappings.document import unescape
from mappings.reading import put
from mappings.source import Rule, Source


class Writing:
    """One document under construction."""

    def __init__(self, lists: Iterable[str], residents: tuple[str, ...]) -> None:
        self.document: dict[str, Any] = {}
        self._residents = residents
        self._lists: dict[str, dict[str, dict[str, Any]]] = {path: {} for path in lists}
        self._taken: dict[tuple[str, str], str] = {}

    def item(self, source: Source, identifier: str) -> dict[str, Any] | None:
        """Return the item with this id, made when it is new; None when the one place is taken."""
        key = source.key_of(identifier)
        if source.single:
            if self._taken.setdefault((source.path, source.scope), identifier) != identifier:
                return None
            item = self.document
            for token in source.path.split("/") if source.path else ():
                item = item.setdefault(unescape(token), {})
        else:
            item = self._lists[source.path].setdefault(str(key or identifier), {})
        if key is not None and source.key is not None:
            put(item, source.key_names, key)
        return item

    def part(self, part: Any, rules: Mapping[str, list[Rule]]) -> bool:
        """Write a part by the first rule of its kind that has a place for it."""
        for rule in rules.get(part.kind, ()):
            if rule.shape.fits(part):
                item = self.item(rule, rule.identified(part))
                if item is not None:
                    rule.shape.write(part, item, self._residents)
                    return True
        return False

    def finished(self) -> dict[str, Any]:
        """Return the document with its lists."""
        for path, items in self._lists.items():
            if items:
                names = tuple(unescape(token) for token in path.split("/"))
                put(self.document, names, [item.get("", item) for item in items.values()])
        return self.document
