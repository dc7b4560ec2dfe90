"""A cursor over a FHIR Bundle: typed reading with a pointer, and the label of a part (the inverse of `elements.py`).

It does not know any resource type; each resource's own file does.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, get_args

from msgspec import Struct

from mappings.codes import DOMAINS, Law
from mappings.elements import ACTOR_OF, CONFIDENTIALITY, NO_SUBJECT, SPEAKER, SUBJECT, code_system, definition
from mappings.errors import Finding, MappingError
from mappings.plan import Actor, Label, RecordedBy

_PUBLIC = frozenset({"U", "L", "M", "N"})
_RELATIVE = re.compile(r"([A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")
LAWS: tuple[Law, ...] = get_args(Law)
_JSON_TYPE = {str: "text", bool: "boolean", int: "whole number"}


class Index(Struct, frozen=True, kw_only=True):
    """What a Bundle answers about its own references.

    `targets`: every fullUrl and Type/id → the Type/id that our own rendering would use; `members`: Group → residents;
    `roles`: Practitioner → the PractitionerRole that stands for it; `listed`: where the CarePlan lists it; `residents`: of the plan.
    """

    targets: Mapping[str, str]
    resources: "dict[str, Node]"
    members: Mapping[str, tuple[str, ...]]
    roles: Mapping[str, str]
    listed: Mapping[str, int]
    residents: tuple[str, ...] = ()

    def resolve(self, text: str) -> str | None:
        """Return the Type/id that a reference means; None for one that leads outside this Bundle's world."""
        if text in self.targets:
            return self.targets[text]
        match = _RELATIVE.fullmatch(text)
        return self.targets.get(match[1], match[1]) if match else None


class Node(Struct, frozen=True):
    """A place in a Bundle: a JSON value, its RFC 6901 pointer, and the index that its references are read with.

    Every method raises MappingError when the value there has another type than FHIR gives it.
    """

    value: Any
    pointer: str
    index: Index

    def fail(self, code: str, remedy: str) -> MappingError:
        """Return the refusal that points here."""
        return MappingError(Finding(pointer=self.pointer, code=code, remedy=remedy))

    def get(self, *path: str | int) -> "Node | None":
        """Return the place that `path` leads to, None where there is nothing."""
        node = self
        for step in path:
            found = node._list(step) if isinstance(step, int) else node._object(step)
            if not found:
                return None
            node = Node(found[0], f"{node.pointer}/{step}", self.index)
        return node

    def _list(self, position: int) -> list[Any]:
        if not isinstance(self.value, list):
            raise self.fail("type", "make this a list")
        return self.value[position : position + 1]

    def _object(self, name: str) -> list[Any]:
        if not isinstance(self.value, dict):
            raise self.fail("type", "make this an object")
        return [self.value[name]] if name in self.value else []

    def each(self, *path: str | int) -> "list[Node]":
        """Return the items of a list, none where there is no list."""
        node = self.get(*path)
        if node is None:
            return []
        if not isinstance(node.value, list):
            raise node.fail("type", "make this a list")
        return [Node(item, f"{node.pointer}/{position}", self.index) for position, item in enumerate(node.value)]

    def _typed(self, expected: type, path: tuple[str | int, ...]) -> Any:
        node = self.get(*path)
        if node is None:
            return None
        if not isinstance(node.value, expected) or (expected is int and isinstance(node.value, bool)):
            raise node.fail("type", f"give a JSON {_JSON_TYPE[expected]}")
        return node.value

    def text(self, *path: str | int) -> str | None:
        """Return a text, None when absent or empty."""
        found: str | None = self._typed(str, path)
        return found or None

    def flag(self, *path: str | int) -> bool | None:
        """Return a boolean."""
        found: bool | None = self._typed(bool, path)
        return found

    def number(self, *path: str | int) -> int | None:
        """Return a whole number; 3.0 is one, and None stands for 1.5, which no plan holds."""
        node = self.get(*path)
        if node and isinstance(node.value, float):
            return int(node.value) if node.value.is_integer() else None
        found: int | None = self._typed(int, path)
        return found

    def day(self, *path: str | int) -> date | None:
        """Return the day of a date or dateTime; None for a month or a year alone, which is no day."""
        text = self.text(*path)
        if text is None or not _DAY.fullmatch(text):
            return None
        try:
            return date.fromisoformat(text[:10])
        except ValueError as error:
            raise self.needed(*path).fail("date", "give a day that exists, as YYYY-MM-DD") from error

    def moment(self, *path: str | int) -> datetime | None:
        """Return an instant."""
        text = self.text(*path)
        try:
            return datetime.fromisoformat(text) if text else None
        except ValueError as error:
            raise self.needed(*path).fail("date", "give an instant, as YYYY-MM-DDThh:mm:ssZ") from error

    def needed(self, *path: str | int) -> "Node":
        """Return the place that must be there, and refuse the document when it is not."""
        node = self.get(*path)
        if node is None:
            place = "".join(f"/{step}" for step in path)
            finding = Finding(pointer=self.pointer + place, code="required", remedy="add this element")
            raise MappingError(finding)
        return node

    def code(self, allowed: Iterable[str], *path: str | int) -> Any:
        """Return a code out of a closed list."""
        found = self.text(*path)
        if found is not None and found not in allowed:
            raise self.needed(*path).fail("code", f"use one of {', '.join(allowed)}")
        return found

    def coded(self, system: str, allowed: Iterable[str] | None, *path: str | int) -> Any:
        """Return the code of our own system in a Coding, a CodeableConcept or a list of either; None when there is none."""
        for node in self._codings(*path):
            if node.text("system") == code_system(system):
                return node.code(allowed, "code") if allowed is not None else node.text("code")
        return None

    def _codings(self, *path: str | int) -> "list[Node]":
        node = self.get(*path)
        if node is None:
            return []
        found = node.each() if isinstance(node.value, list) else [node]
        return [each for item in found for each in (item.each("coding") if item.get("coding") else [item])]

    def extensions(self, name: str) -> "list[Node]":
        """Return every use of one of our extensions here; a full URL names somebody else's."""
        url = name if name.startswith("http") else definition(name)
        return [node for node in self.each("extension") if node.text("url") == url]

    def extension(self, name: str) -> "Node | None":
        """Return the first use of an extension here."""
        return next(iter(self.extensions(name)), None)

    def text_of(self, name: str) -> str | None:
        """Return the text of an extension here."""
        node = self.extension(name)
        return node.text("valueString") if node else None

    def target(self, *path: str | int) -> str | None:
        """Return the Type/id that a Reference means."""
        text = self.text(*path, "reference")
        return self.index.resolve(text) if text else None

    def target_id(self, resource_type: str, *path: str | int) -> str | None:
        """Return the id that a Reference means when it is of this type."""
        kind, _, found = (self.target(*path) or "").partition("/")
        return found if kind == resource_type else None

    def actor(self, *path: str | int) -> Actor | None:
        """Return who a Reference means; None for nobody that a plan can name, such as a Device."""
        if self.get(*path) is None:
            return None
        target = self.target(*path)
        if target is None:
            kind = None if self.text(*path, "reference") else ACTOR_OF.get(self.text(*path, "type") or "")
            return Actor(type=kind) if kind else None
        resource_type, _, found = self.index.roles.get(target, target).partition("/")
        actor = ACTOR_OF.get(resource_type)
        return Actor(type=actor, ref=found) if actor else None

    def label(self) -> Label:
        """Return the label of the part that this resource is."""
        element, _ = SPEAKER.get(self.value["resourceType"], ("", None))
        native = self.actor(*((element, 0) if element == "performer" else (element,)))
        return Label(
            subjects=self._subjects(),
            domain=self.coded("life-domain", DOMAINS, "meta", "tag"),
            law=self.coded("law", LAWS, "meta", "tag") or "none",
            sensitivity="restricted" if self.restricted() else "normal",
            mentioned=self.mentioned(),
            speaker=self.speaker() or native,
            recorded_by=self.recorded_by(),
        )

    def restricted(self) -> bool:
        """Say whether a confidentiality asks for more than normal care; one that we do not know does."""
        codes = [node.text("code") for node in self.each("meta", "security") if node.text("system") == CONFIDENTIALITY]
        return not _PUBLIC.issuperset(codes)

    def _subjects(self) -> tuple[str, ...]:
        resource_type = self.value["resourceType"]
        if resource_type == "Patient":
            return (self.value["id"],)
        if resource_type in NO_SUBJECT:
            found = self.extension("subject")
            node = found.get("valueReference") if found else self.get("patient")
        else:
            node = self.get(SUBJECT.get(resource_type, "subject"))
        return node.people() if node else self.index.residents

    def people(self) -> tuple[str, ...]:
        """Return the residents that a Reference to a Patient or a Group means."""
        target = self.target() or ""
        resource_type, _, found = target.partition("/")
        if resource_type == "Patient":
            return (found,)
        if target in self.index.members:
            return self.index.members[target]
        raise self.fail("reference", "refer to a Patient, or to a Group in this Bundle")

    def mentioned(self) -> tuple[str, ...]:
        """Return the relatives whom the label here mentions."""
        found = (node.target_id("RelatedPerson", "valueReference") for node in self.extensions("mentioned"))
        return tuple(relative for relative in found if relative)

    def speaker(self) -> Actor | None:
        """Return the speaker that stands in our extension here."""
        node = self.extension("speaker")
        return node.actor("valueReference") if node else None

    def recorded_by(self) -> RecordedBy | None:
        """Return who wrote this down, from our extensions here."""
        node, secrecy = self.extension("recorded-by"), self.extension("recorded-under-secrecy")
        organisation = node.target_id("Organization", "valueReference") if node else None
        if organisation is None:
            return None
        return RecordedBy(organisation=organisation, secrecy=bool(secrecy and secrecy.flag("valueBoolean")))
