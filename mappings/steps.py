"""Reading steps that take more than one value or fill more than one place. A step returns whether all went well."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mappings.fields import Codec, WrongValueError
from mappings.identifiers import IdentifierError, check_identifier
from mappings.plan import Actor, Identifier
from mappings.reading import Reading, below

Buckets = list[dict[str, Any]]
"""Attribute → value, per record under construction."""

Step = Callable[[dict[str, Any], Buckets, Reading, str], bool]
"""(path → value, buckets, reading, pointer of the item) → sound."""


class Place(NamedTuple):
    """Where a value lives in the plan: which bucket, which attribute, its type, its default, and how to get it back."""

    bucket: int
    attribute: str
    type: Any
    default: Any
    get: Callable[[Any], Any]


def actor_step(place: Place, type_path: str, ref_path: str, types: Codec, refs: Mapping[Any, Codec]) -> Step:
    """Read an actor from its type and its ref."""

    def step(flat: dict[str, Any], buckets: Buckets, reading: Reading, base: str) -> bool:
        raw_type, raw_ref = flat.get(type_path), flat.get(ref_path)
        if raw_type is None:
            if raw_ref is not None:
                reading.fail(below(base, ref_path), "required", f"give the missing property {type_path} as well")
            return raw_ref is None
        path = type_path
        try:
            kind, path = types.read(raw_type), ref_path
            ref = None if raw_ref is None else refs[kind].read(raw_ref)
        except WrongValueError as wrong:
            reading.wrong(base, path, wrong)
            return False
        buckets[place.bucket][place.attribute] = Actor(type=kind, ref=ref)
        if ref is not None:
            reading.wanted.append((base, ref_path, ref))
        return True

    return step


def identifier_step(place: Place, path: str, system: str) -> Step:
    """Read one identifier beside the others."""

    def step(flat: dict[str, Any], buckets: Buckets, reading: Reading, base: str) -> bool:
        if (raw := flat.get(path)) is None:
            return True
        try:
            identifier = Identifier(system=system, value=check_identifier(system, raw if type(raw) is str else ""))
        except IdentifierError:
            reading.fail(below(base, path), "identifier", f"give an identifier in the shape of {system}")
            return False
        bucket = buckets[place.bucket]
        bucket[place.attribute] = (*bucket.get(place.attribute, ()), identifier)
        return True

    return step


def found_identifier(system: str) -> Callable[[tuple[Identifier, ...]], str | None]:
    """Return how the identifier of one system is found among all."""

    return lambda identifiers: next((found.value for found in identifiers if found.system == system), None)


def split_step(places: list[Place], path: str, codec: Codec) -> Step:
    """Read one text into several places."""

    def step(flat: dict[str, Any], buckets: Buckets, reading: Reading, base: str) -> bool:
        if (raw := flat.get(path)) is None:
            return True
        try:
            values = codec.read(raw)
        except WrongValueError as wrong:
            reading.wrong(base, path, wrong)
            return False
        for place, value in zip(places, values, strict=True):
            if value is not None:
                buckets[place.bucket][place.attribute] = value
        return True

    return step
