"""The two-way mapping of a format, compiled once from its declaration to closures.

Rules run in the order of the mapping. Several rules may read one list (a resident feeds an identity and contact details); a part
comes of an item only when a field of its own is there, and writing merges the items again by key. A part is written by the first
rule of its kind whose constants it agrees with.
"""

from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from mappings.declaration import FieldSpec, ListSpec, MappingSpec, RuleSpec
from mappings.draft import Draft
from mappings.errors import Finding, FormatError
from mappings.plan import AnyPart, Organisation, Part, SupportPlan
from mappings.reading import Known, Reading, below, grow
from mappings.references import broken_references
from mappings.shape import Shape
from mappings.source import OF_RESIDENT, Item, Rule, Source
from mappings.steps import Buckets
from mappings.writing import Writing

_CLASSES: dict[str, type[Part]] = {str(cls.__struct_config__.tag): cls for cls in get_args(AnyPart)}


class Lens:
    """A compiled mapping. Immutable after construction; raises FormatError there."""

    def __init__(self, spec: MappingSpec) -> None:
        """Compile."""
        self._name = spec.name
        numeric = _numeric_scopes(spec)
        given = frozenset({"id", "residents", "parts", "instrument"})
        self._header = _shaped("header", SupportPlan, spec.header, spec, numeric, given)
        self._residents = Source(
            spec.residents, "resident", _shaped("residents", Part, (), spec, numeric, _ID), numeric
        )
        self._organisations = _organisations(spec, numeric)
        self._rules = [_rule(spec, rule, number, numeric) for number, rule in enumerate(spec.rules, 1)]
        self.kinds = frozenset(rule.kind for rule in self._rules)
        self._by_kind: dict[str, list[Rule]] = {
            kind: [rule for rule in self._rules if rule.kind == kind] for kind in self.kinds
        }
        self._root: Known = {}
        self._lists: dict[str, Known] = {}
        self._grow()
        self._set_own()

    # ---- reading

    def read(self, document: Any) -> tuple[Draft | None, list[Finding]]:
        """Return the draft, or None and what is wrong."""
        reading = Reading()
        root = reading.flatten(document, self._root, "")
        items = {path: _items(root, path, known, reading) for path, known in self._lists.items()}
        references = self._read_residents(root, items, reading)
        organisations = self._read_organisations(root, items, reading)
        found = ((rule, item) for rule in self._rules for item in _of(rule, root, items) if rule.makes(item[0]))
        parts = tuple(part for rule, item in found if (part := rule.read(item, reading)) is not None)
        reading.check_references()
        header = self._header.read(root, reading, "")
        if header is None or reading.findings:
            return None, reading.findings
        plan = self._plan(header, reading.residents, organisations, parts)
        _check_net(plan, reading)
        draft = Draft(plan=plan, pointers=reading.ids, references=references, loss=tuple(reading.loss))
        return (None if reading.findings else draft), reading.findings

    def _plan(self, header: Buckets, residents: tuple[str, ...], organisations: Any, parts: Any) -> SupportPlan:
        header[0].setdefault("id", "")
        given = {"residents": residents, "organisations": organisations, "parts": parts, "instrument": self._name}
        plan: SupportPlan = self._header.build(header, (), **given)
        return plan

    def _read_residents(self, root: dict[str, Any], items: dict[str, list[Item]], reading: Reading) -> dict[str, str]:
        references = {identifier: key for identifier, key, _ in _keyed(self._residents, root, items, reading)}
        reading.residents = tuple(references)
        if not references and not reading.findings:
            reading.fail(below("", self._residents.path).rstrip("/"), "required", "name at least one resident")
        return references

    def _read_organisations(
        self, root: dict[str, Any], items: dict[str, list[Item]], reading: Reading
    ) -> tuple[Any, ...]:
        source, found = self._organisations, []
        if source is None:
            return ()
        for identifier, _, (flat, base) in _keyed(source, root, items, reading):
            if (buckets := source.shape.read(flat, reading, base)) is not None:
                found.append(source.shape.build(buckets, (), id=identifier))
        return tuple(found)

    # ---- writing

    def write(self, plan: SupportPlan) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the document, and the ids of the parts that this format has no place for."""
        writing = Writing(self._lists, plan.residents)
        self._header.write(plan, writing.document, plan.residents)
        for resident in plan.residents:
            writing.item(self._residents, resident)
        if (source := self._organisations) is not None:
            for organisation in plan.organisations:
                if (item := writing.item(source, organisation.id)) is not None:
                    source.shape.write(organisation, item, plan.residents)
        unwritten = tuple(part.id for part in plan.parts if not writing.part(part, self._by_kind))
        return writing.finished(), unwritten

    def paths(self) -> frozenset[str]:
        """Return every path that the mapping knows, from the document's root, without the positions in lists."""
        inside = {f"{source.prefix}{path}" for source in self._sources() for path in source.paths()}
        return frozenset(self._header.sources) | inside

    # ---- compiling

    def _sources(self) -> list[Source]:
        organisations = [self._organisations] if self._organisations else []
        return [self._residents, *organisations, *self._rules]

    def _grow(self) -> None:
        try:
            for path in self._header.sources:
                grow(self._root, path)
            for source in self._sources():
                self._grow_source(source)
        except ValueError as error:
            raise FormatError(f"mapping.yaml: the path {error} is both a value and an object") from None

    def _grow_source(self, source: Source) -> None:
        if source.single:
            for path in source.paths():
                grow(self._root, source.prefix + path)
            return
        grow(self._root, source.path)
        for path in source.paths():
            grow(self._lists.setdefault(source.path, {}), path)

    def _set_own(self) -> None:
        """Give every rule that shares its items the paths that only it reads."""
        sources = self._sources()
        for rule in self._rules:
            others = [other for other in sources if other is not rule and other.path == rule.path]
            if others or rule.single:
                taken = {path for other in others for path in other.paths()} | {rule.key}
                rule.own = frozenset(rule.shape.sources) - taken


_ID = frozenset({"id", "label"})


def _items(root: dict[str, Any], path: str, known: Known, reading: Reading) -> list[Item]:
    raw = root.get(path)
    if raw is None:
        return []
    if type(raw) is not list:
        reading.fail(f"/{path}", "type", "give a list")
        return []
    return [(reading.flatten(item, known, f"/{path}/{index}"), f"/{path}/{index}") for index, item in enumerate(raw)]


def _of(source: Source, root: dict[str, Any], items: dict[str, list[Item]]) -> list[Item]:
    if not source.single:
        return items[source.path]
    flat = {path: root[source.prefix + path] for path in source.paths() if source.prefix + path in root}
    return [(flat, f"/{source.path}" if source.path else "")]


def _keyed(
    source: Source, root: dict[str, Any], items: dict[str, list[Item]], reading: Reading
) -> Iterable[tuple[str, str, Item]]:
    """Yield (draft id, key, item) of residents or organisations, whose key is compulsory."""
    for item in _of(source, root, items):
        flat, base = item
        key = source.read_key(flat, reading, base)
        if key is None:
            if source.key not in flat:
                reading.fail(base, "required", f"give the missing property {source.key}")
            continue
        reading.add(f"{source.scope}:{key}", base, below(base, source.key or ""))
        yield f"{source.scope}:{key}", key, item


def _check_net(plan: SupportPlan, reading: Reading) -> None:
    """Refuse what no rule noticed: a plan never leaves here with a reference to nothing."""
    for part, field, expected in broken_references(plan):
        reading.fail(reading.ids.get(part, ""), "reference", f"{field}: refer to a {expected} of this document")


def _numeric_scopes(spec: MappingSpec) -> frozenset[str]:
    sources: list[tuple[str, ListSpec]] = [("resident", spec.residents), *((rule.part, rule) for rule in spec.rules)]
    if spec.organisations:
        sources.append(("organisation", spec.organisations))
    numeric = frozenset(scope for scope, source in sources if source.numeric)
    if mixed := [scope for scope, source in sources if scope in numeric and source.key and not source.numeric]:
        raise FormatError(f"mapping.yaml: the keys of {mixed[0]} are numeric in one rule and not in another")
    return numeric


def _shaped(
    place: str,
    cls: type[msgspec.Struct],
    fields: tuple[FieldSpec, ...],
    spec: MappingSpec,
    numeric: frozenset[str],
    given: frozenset[str],
) -> Shape:
    try:
        return Shape(cls, fields, spec.codes, numeric, given)
    except FormatError as error:
        raise FormatError(f"mapping.yaml, {place}: {error}") from None


def _organisations(spec: MappingSpec, numeric: frozenset[str]) -> Source | None:
    _check_list("residents", spec.residents)
    if spec.organisations is None:
        return None
    _check_list("organisations", spec.organisations)
    shape = _shaped("organisations", Organisation, spec.organisations.fields, spec, numeric, _ID)
    return Source(spec.organisations, "organisation", shape, numeric)


def _check_list(place: str, source: ListSpec) -> None:
    try:
        source.check()
    except FormatError as error:
        raise FormatError(f"mapping.yaml, {place}: {error}") from None
    if source.key is None and not source.single:
        raise FormatError(f"mapping.yaml, {place}: a list needs a `key`, by which plans refer to its items")


def _rule(spec: MappingSpec, rule: RuleSpec, number: int, numeric: frozenset[str]) -> Rule:
    place = f"rule {number} ({rule.part})"
    try:
        rule.check()
    except FormatError as error:
        raise FormatError(f"mapping.yaml, {place}: {error}") from None
    given = _ID
    if rule.part in OF_RESIDENT:
        given |= {"resident"}
        rule = _on_resident(spec, rule, place)
    fields = (*rule.fields, *_label_fields(spec, rule))
    return Rule(rule, _shaped(place, _CLASSES[rule.part], fields, spec, numeric, given), numeric)


def _on_resident(spec: MappingSpec, rule: RuleSpec, place: str) -> RuleSpec:
    if rule.key is None and rule.path != spec.residents.path:
        raise FormatError(f"mapping.yaml, {place}: give the `key` that says whose this is")
    return msgspec.structs.replace(rule, key=rule.key or spec.residents.key)


def _label_fields(spec: MappingSpec, rule: RuleSpec) -> Iterable[FieldSpec]:
    if rule.label is False:
        return
    mapped = {field.plan for field in rule.fields} | ({"label/subjects"} if rule.part in OF_RESIDENT else set())
    prefix = f"{rule.label}/" if isinstance(rule.label, str) and rule.label else ""
    for field in spec.label:
        if field.plan in mapped:
            continue
        paths = tuple(prefix + path for path in field.sources())
        source = (paths[0] if isinstance(field.source, str) else paths) if paths else None
        yield msgspec.structs.replace(field, source=source)
