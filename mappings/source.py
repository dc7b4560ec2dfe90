"""Where the items of one scope stand in a document, how they are identified, and the parts that they become."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from mappings.declaration import ListSpec, RuleSpec
from mappings.document import unescape
from mappings.fields import WrongValueError, key_writer, read_key
from mappings.plan import contact_id, identity_id
from mappings.reading import Reading, below
from mappings.shape import Shape
from mappings.steps import Buckets

OF_RESIDENT: dict[str, Callable[[str], str]] = {"identity": identity_id, "contact": contact_id}
"""The kinds of which a resident has one, with the id that it then has."""

_CONTENT = msgspec.json.Encoder(order="deterministic")
_HASH_BYTES = 6
_ONLY_KEY = "1"

Item = tuple[dict[str, Any], str]
"""Path → value of one item, and the pointer of the item."""


class Source:
    """Where the items of one scope stand, and how they are identified."""

    def __init__(self, spec: ListSpec, scope: str, shape: Shape, numeric: frozenset[str]) -> None:
        """Keep what reading and writing ask all the time."""
        self.path, self.single, self.key, self.scope, self.shape = spec.path, spec.single, spec.key, scope, shape
        self.key_names = tuple(unescape(token) for token in (spec.key or "").split("/"))
        self.key_of = key_writer(scope, numeric=scope in numeric)
        self.own: frozenset[str] | None = None
        self.prefix = f"{self.path}/" if self.path else ""

    def paths(self) -> list[str]:
        """Return the paths from the item, its key included."""
        return [*self.shape.sources, *([self.key] if self.key is not None else [])]

    def makes(self, flat: dict[str, Any]) -> bool:
        """Whether an item has something for this scope."""
        return self.own is None or not self.own.isdisjoint(flat)

    def read_key(self, flat: dict[str, Any], reading: Reading, base: str) -> str | None:
        """Return the key in the document, None when there is none or after noting what is wrong with it."""
        if self.key is None:
            return _ONLY_KEY if self.single else None
        if (raw := flat.get(self.key)) is None:
            return None
        try:
            return read_key(raw)
        except WrongValueError as wrong:
            reading.wrong(base, self.key, wrong)
            return None


class Rule(Source):
    """Items that become parts of one kind."""

    def __init__(self, spec: RuleSpec, shape: Shape, numeric: frozenset[str]) -> None:
        """Set the scope by the kind."""
        self.of_resident = OF_RESIDENT.get(spec.part)
        self.kind = spec.part
        super().__init__(spec, "resident" if self.of_resident else spec.part, shape, numeric)

    def read(self, item: Item, reading: Reading) -> Any:
        """Return the part, or None after noting what is wrong."""
        flat, base = item
        buckets = self.shape.read(flat, reading, base)
        key = self.read_key(flat, reading, base)
        if key is None and (self.key is None or self.key not in flat) and buckets is not None and not self.of_resident:
            key = self._generated(buckets, reading)
        if key is None:
            return None
        owner = f"{self.scope}:{key}"
        identifier = self.of_resident(owner) if self.of_resident else owner
        reading.add(identifier, base, below(base, self.key or ""))
        if buckets is None:
            return None
        if self.of_resident is None:
            return self.shape.build(buckets, reading.residents, id=identifier)
        reading.wanted.append((base, self.key or "", owner))
        return self.shape.build(buckets, (owner,), id=identifier, resident=owner)

    def _generated(self, buckets: Buckets, reading: Reading) -> str:
        content = _CONTENT.encode(self.shape.content(buckets, reading.residents))
        key = f"~{blake2b(content, digest_size=_HASH_BYTES).hexdigest()}"
        count = reading.repeats[f"{self.scope}:{key}"] = reading.repeats.get(f"{self.scope}:{key}", 0) + 1
        return key if count == 1 else f"{key}-{count}"

    def identified(self, part: Any) -> str:
        """Return the id that becomes the key: of the resident for what belongs to one."""
        return str(part.resident if self.of_resident else part.id)
