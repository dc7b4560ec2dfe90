"""Seal plans and choices per set of subjects, so that erasing one person leaves the others' parts readable.

A plan is kept as blocks: the header under the key of all its residents, and the parts under the key of exactly their subjects.
Data keys are cached in memory; they are wrapped by the master key in a store of their own.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from consent.choice import Choice
from gateway.clock import Clock
from gateway.seal import MasterKey, new_data_key, seal, unseal
from gateway.store import keys
from gateway.store.engine import Store
from mappings.plan import AnyPart, SupportPlan

Subjects = frozenset[str]

_BLOCKS = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
_PARTS = msgspec.json.Decoder(list[tuple[int, AnyPart]])
_HEADER = msgspec.json.Decoder(SupportPlan)
_CHOICES = msgspec.json.Decoder(tuple[Choice, ...])


class Vault:
    """Seals and opens with the right data key, making it when it is the first time."""

    def __init__(self, store: Store, master: MasterKey, clock: Clock) -> None:
        self._store = store
        self._master = master
        self._clock = clock
        self._by_subjects: dict[str, tuple[str, bytes]] = {}
        self._by_id: dict[str, bytes] = {}

    async def seal_plan(self, plan: SupportPlan, source_body: bytes) -> tuple[bytes, bytes]:
        """Return the sealed plan and the sealed document that it came from. The keys are kept before the plan is."""
        everybody = frozenset(plan.residents)
        blocks: dict[Subjects, list[tuple[int, AnyPart]]] = {}
        for position, part in enumerate(plan.parts):
            blocks.setdefault(frozenset(part.label.subjects), []).append((position, part))
        await self._ensure([everybody, *blocks])
        context = _context(plan.id, plan.version)
        header = self._sealed(everybody, msgspec.json.encode(replace(plan, parts=())), context)
        rows = [header, *(self._sealed(who, msgspec.json.encode(parts), context) for who, parts in blocks.items())]
        return msgspec.msgpack.encode(rows), msgspec.msgpack.encode([self._sealed(everybody, source_body, context)])

    async def open_plan(self, plan_id: str, version: int, body: bytes) -> SupportPlan | None:
        """Return the plan; parts whose key was destroyed are gone from it, and with the key of its header the plan is."""
        rows = _BLOCKS.decode(body)
        await self._fetch(key_id for key_id, _ in rows)
        context = _context(plan_id, version)
        text = self._opened(rows[0], context)
        if text is None:
            return None
        header = _HEADER.decode(text)
        opened = (self._opened(row, context) for row in rows[1:])
        numbered = [pair for text in opened if text is not None for pair in _PARTS.decode(text)]
        numbered.sort(key=lambda pair: pair[0])
        return replace(header, parts=tuple(part for _, part in numbered))

    async def seal_choices(self, resident: str, version: int, choices: Sequence[Choice]) -> bytes:
        """Return one resident's choices, sealed under that resident's own key."""
        subjects = frozenset({resident})
        await self._ensure([subjects])
        sealed = self._sealed(subjects, msgspec.json.encode(choices), _context(resident, version))
        return msgspec.msgpack.encode([sealed])

    async def open_choices(self, resident: str, version: int, body: bytes) -> tuple[Choice, ...]:
        """Return the choices; none when the resident's key was destroyed."""
        (row,) = _BLOCKS.decode(body)
        await self._fetch([row[0]])
        text = self._opened(row, _context(resident, version))
        return () if text is None else _CHOICES.decode(text)

    def _sealed(self, subjects: Subjects, text: bytes, context: bytes) -> tuple[str, bytes]:
        key_id, key = self._by_subjects[_named(subjects)]
        return key_id, seal(key, text, context)

    def _opened(self, row: tuple[str, bytes], context: bytes) -> bytes | None:
        key = self._by_id.get(row[0])
        return None if key is None else unseal(key, row[1], context)

    async def _ensure(self, sets: Iterable[Subjects]) -> None:
        """Have a key for each set of subjects, made and kept where there was none."""
        wanted = {_named(subjects) for subjects in sets} - self._by_subjects.keys()
        if not wanted:
            return
        found = await self._store.read(lambda tx: keys.keys_for_subjects(tx, wanted))
        if missing := wanted - found.keys():
            made = [(self._clock.new_id(), name, self._master.wrap(new_data_key())) for name in sorted(missing)]
            today = self._clock.now().date()
            await self._store.write(lambda tx: keys.add_keys(tx, made, today))
            found = await self._store.read(lambda tx: keys.keys_for_subjects(tx, wanted))
        for name, (key_id, wrapped) in found.items():
            self._by_subjects[name] = key_id, self._master.unwrap(wrapped)
            self._by_id[key_id] = self._by_subjects[name][1]

    async def _fetch(self, key_ids: Iterable[str]) -> None:
        missing = set(key_ids) - self._by_id.keys()
        if missing:
            found = await self._store.read(lambda tx: keys.keys_by_id(tx, missing))
            self._by_id.update({key_id: self._master.unwrap(wrapped) for key_id, wrapped in found.items()})


def _named(subjects: Subjects) -> str:
    return " ".join(sorted(subjects))


def _context(owner: str, version: int) -> bytes:
    return f"{owner} {version}".encode()
