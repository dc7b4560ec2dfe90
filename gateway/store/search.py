"""A FHIR search over what one reader may see, as SQL: consent is in the rows that there are, so nothing is filtered afterwards.

A statement's text depends on the shape of a query only, so that it is compiled once; what is looked for travels as values. Which index
leads is chosen by counting, up to `FEW`, what each condition finds: a page costs no more when there is more to find.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql.expression import FromClause

from gateway.store.engine import Transaction
from gateway.store.statements import one_of
from gateway.store.tables import fhir_resource, fhir_share, fhir_value
from gateway.store.words import field_of, name_of, number_of
from mappings.search.query import (
    Chained,
    Condition,
    Dates,
    Has,
    Ids,
    Include,
    Missing,
    Query,
    References,
    Tokens,
)

FEW = 500
"""Up to so many finds lead a search that is sorted otherwise; beyond that the order leads."""

LAST_UPDATED = "_lastUpdated"
_SHAPES = 1_000

Place = tuple[int | str, ...]
"""Where a page ended: the values it is sorted by, the resource's key last."""


class Found(Struct, frozen=True, kw_only=True):
    """A resource that a search found: where it is read from, and the version that its index was made of."""

    key: int
    type: str
    id: str
    plan: str
    version: int


class Page(Struct, frozen=True, kw_only=True):
    """What a search found. `place` is where the next page begins, None on the last; `total` is None when nobody counted."""

    found: tuple[Found, ...]
    place: Place | None
    total: int | None


Shape = tuple[Any, ...]
"""What the text of a condition depends on; `_values` has the rest, under names that begin with the condition's own."""


def search(tx: Transaction, reader: int, query: Query, after: Place | None) -> Page:
    """Return one page of what this reader sees, without what is included."""
    asked: dict[str, Any] = {"reader": reader, "type": query.type}
    shapes = []
    for position, condition in enumerate(query.conditions):
        shapes.append(_shape(condition))
        asked |= _values(query.type, condition, f"c{position}")
    total = None
    if query.total != "none" or query.summary == "count":
        total = tx.execute(_counted(tuple(shapes)), asked).scalar_one()
    if query.summary == "count" or query.count == 0:
        return Page(found=(), place=None, total=total)
    leading = _leading(tx, tuple(shapes), asked, is_sorted=bool(query.sort))
    sorts = tuple((sort.param, sort.is_descending) for sort in query.sort)
    asked |= {"most": query.count + 1} | {f"after{position}": value for position, value in enumerate(after or ())}
    rows = tx.execute(_page(query.type, tuple(shapes), leading, sorts, after is not None), asked).all()
    found = tuple(
        Found(key=row.key, type=row.type, id=row.id, plan=row.plan, version=row.version) for row in rows[: query.count]
    )
    place = None
    if len(rows) > query.count:
        place = tuple(rows[query.count - 1])[5:]
    elif after is None and total is None:
        total = len(found)
    return Page(found=found, place=place, total=total)


def included(tx: Transaction, reader: int, query: Query, found: Sequence[Found], limit: int) -> tuple[Found, ...]:
    """Return what `_include` and `_revinclude` add to a page, each once and none that is on the page."""
    added: dict[int, Found] = {}
    for include, statement in _inclusions(query):
        asked = {
            "reader": reader,
            "field": field_of(include.source, include.param),
            "target": include.target,
            "keys": [each.key for each in found],
            "names": [name_of(each.type, each.id) for each in found],
            "most": limit + 1,
        }
        for row in tx.execute(statement(include), asked):
            added[row.key] = Found(key=row.key, type=row.type, id=row.id, plan=row.plan, version=row.version)
    own = {each.key for each in found}
    return tuple(each for key, each in added.items() if key not in own)


def everything(tx: Transaction, reader: int, plans: Iterable[str], after: int, limit: int) -> tuple[Found, ...]:
    """Return the resources of plans in the order of their keys, `after` left out."""
    asked = {"reader": reader, "plans": list(plans), "after": after, "most": limit}
    rows = tx.execute(_EVERYTHING, asked)
    return tuple(Found(key=row.key, type=row.type, id=row.id, plan=row.plan, version=row.version) for row in rows)


_R = fhir_resource.alias("r")
_COLUMNS = (_R.c.key, _R.c.type, _R.c.id, _R.c.plan, _R.c.version)
_ONE: ColumnElement[int] = literal_column("1")
_OF_READER = (_R.c.reader == bindparam("reader"), _R.c.type == bindparam("type"))
_OWN = fhir_resource.alias("own")
_SHARED = fhir_resource.alias("shared")
_OF_PLANS = union_all(
    select(_OWN.c.key).where(_OWN.c.reader == bindparam("reader"), one_of(_OWN.c.plan, "plans")),
    select(_SHARED.c.key).where(
        fhir_share.c.reader == bindparam("reader"),
        one_of(fhir_share.c.plan, "plans"),
        _SHARED.c.reader == bindparam("reader"),
        _SHARED.c.type == fhir_share.c.type,
        _SHARED.c.id == fhir_share.c.id,
    ),
)
"""Keys of what stands in plans, and of what stands in one of them but is read from another."""
_EVERYTHING = (
    select(*_COLUMNS)
    .where(_R.c.key.in_(_OF_PLANS), _R.c.key > bindparam("after"))
    .order_by(_R.c.key)
    .limit(bindparam("most"))
)


def _shape(condition: Condition) -> Shape:
    match condition:
        case Tokens(any_of=tokens, is_not=is_not):
            return ("tokens", is_not, tuple((system is not None, code is not None) for system, code in tokens))
        case References(any_of=targets):
            return ("references", len(targets))
        case Dates(param=param, any_of=comparisons):
            return ("dates", param == LAST_UPDATED, tuple(prefix for prefix, _ in comparisons))
        case Ids():
            return ("ids",)
        case Missing(param=param, is_missing=is_missing):
            return ("missing", is_missing)
        case Chained(condition=inner):
            return ("chained", _shape(inner))
        case Has(condition=inner):
            return ("has", _shape(inner))


def _values(of: str, condition: Condition, name: str) -> dict[str, Any]:
    """Return what a condition on a type looks for, under names that begin with `name`."""
    match condition:
        case Tokens(param=param, any_of=tokens):
            named: dict[str, Any] = {f"{name}_field": field_of(of, param)}
            for position, (system, code) in enumerate(tokens):
                named[f"{name}_system{position}"] = None if system is None else number_of(system)
                named[f"{name}_code{position}"] = None if code is None else number_of(code)
            return named
        case References(param=param, any_of=targets):
            named = {f"{name}_field": field_of(of, param)}
            return named | {f"{name}_code{position}": number_of(target) for position, target in enumerate(targets)}
        case Dates(param=param, any_of=comparisons):
            named = {} if param == LAST_UPDATED else {f"{name}_field": field_of(of, param)}
            for position, (_, (low, high)) in enumerate(comparisons):
                named |= {f"{name}_low{position}": low, f"{name}_high{position}": high}
            return named
        case Ids(any_of=ids):
            return {f"{name}_ids": list(ids)}
        case Missing(param=param):
            return {f"{name}_field": field_of(of, param)}
        case Chained(param=param, target=target, condition=inner):
            link = {f"{name}_field": field_of(of, param), f"{name}_type": target}
            return link | _values(target, inner, f"{name}i")
        case Has(param=param, source=source, condition=inner):
            link = {f"{name}_field": field_of(source, param), f"{name}_type": source}
            return link | _values(source, inner, f"{name}i")


def _in_value(shape: Shape, name: str, value: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row of `fhir_value` is what is looked for."""
    is_field = value.c.field == bindparam(f"{name}_field", type_=Integer())
    kind = shape[0]
    if kind == "tokens":
        each = [
            _is_token(value, name, position, is_of_system=is_of_system, has_code=has_code)
            for position, (is_of_system, has_code) in enumerate(shape[2])
        ]
    elif kind == "references":
        each = [_is_token(value, name, position, is_of_system=False, has_code=True) for position in range(shape[1])]
    elif kind == "dates":
        each = [
            _COMPARED[prefix](value.c.low, value.c.high, *_span(name, position))
            for position, prefix in enumerate(shape[2])
        ]
    else:
        return is_field
    return and_(is_field, or_(*each))


def _is_token(
    value: FromClause, name: str, position: int, *, is_of_system: bool, has_code: bool
) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = []
    if has_code:
        parts.append(value.c.code == bindparam(f"{name}_code{position}", type_=BigInteger()))
    if is_of_system:
        parts.append(value.c.system == bindparam(f"{name}_system{position}", type_=BigInteger()))
    return and_(*parts)


def _span(name: str, position: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
    return (
        bindparam(f"{name}_low{position}", type_=BigInteger()),
        bindparam(f"{name}_high{position}", type_=BigInteger()),
    )


Compared = Callable[[Any, Any, Any, Any], ColumnElement[bool]]


def _within(low: Any, high: Any, first: Any, last: Any) -> ColumnElement[bool]:
    return and_(low >= first, high <= last)


_COMPARED: dict[str, Compared] = {
    "eq": _within,
    "ne": lambda low, high, first, last: or_(low < first, high > last),
    "gt": lambda _low, high, _first, last: high > last,
    "lt": lambda low, _high, first, _last: low < first,
    "ge": lambda low, high, first, last: or_(high > last, _within(low, high, first, last)),
    "le": lambda low, high, first, last: or_(low < first, _within(low, high, first, last)),
    "sa": lambda low, _high, _first, last: low > last,
    "eb": lambda _low, high, first, _last: high < first,
}
"""https://hl7.org/fhir/R4/search.html#prefix, on closed intervals of microseconds."""


def _holds(shape: Shape, name: str, of: FromClause) -> ColumnElement[bool]:
    """Return the condition on a row of `fhir_resource`."""
    kind = shape[0]
    if kind == "ids":
        return one_of(of.c.id, f"{name}_ids")
    if kind == "dates" and shape[1]:
        each = [
            _COMPARED[prefix](of.c.changed_at, of.c.changed_at, *_span(name, position))
            for position, prefix in enumerate(shape[2])
        ]
        return or_(*each)
    if kind == "chained":
        return of.c.key.in_(_referring(shape[1], name))
    if kind == "has":
        return of.c.name.in_(_referred(shape[1], name))
    value = fhir_value.alias(f"{name}v")
    found = exists(select(_ONE).where(value.c.resource == of.c.key, _in_value(shape, name, value)))
    is_absent = shape[1] if kind in {"tokens", "missing"} else False
    return ~found if is_absent else found


def _referring(inner: Shape, name: str) -> Select[Any]:
    """Select the keys of what refers to a resource that meets the inner condition."""
    target, link = fhir_resource.alias(f"{name}t"), fhir_value.alias(f"{name}l")
    return select(link.c.resource).where(
        *_meeting(inner, name, target),
        link.c.reader == bindparam("reader"),
        link.c.field == bindparam(f"{name}_field", type_=Integer()),
        link.c.code == target.c.name,
    )


def _referred(inner: Shape, name: str) -> Select[Any]:
    """Select the names of what a resource that meets the inner condition refers to."""
    source, link = fhir_resource.alias(f"{name}t"), fhir_value.alias(f"{name}l")
    return select(link.c.code).where(
        *_meeting(inner, name, source),
        link.c.resource == source.c.key,
        link.c.field == bindparam(f"{name}_field", type_=Integer()),
    )


def _meeting(inner: Shape, name: str, of: FromClause) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a resource is this reader's, of the type under `name`, and meets the inner condition."""
    of_type = bindparam(f"{name}_type", type_=String())
    mine = (of.c.reader == bindparam("reader"), of.c.type == of_type)
    if not _leads(inner) or inner[0] == "ids":
        return (*mine, _holds(inner, f"{name}i", of))
    value = fhir_value.alias(f"{name}iv")
    led = (value.c.reader == bindparam("reader"), _in_value(inner, f"{name}i", value))
    return (*mine, of.c.key == value.c.resource, *led)


def _leads(shape: Shape) -> bool:
    """Say whether an index can lead to what a condition finds."""
    match shape:
        case ("tokens", is_not, tokens):
            return not is_not and all(has_code for _, has_code in tokens)
        case ("references", _):
            return True
        case ("dates", is_of_resource, _):
            return not is_of_resource
        case ("ids",):
            return True
        case _:
            return False


def _leading(tx: Transaction, shapes: tuple[Shape, ...], asked: dict[str, Any], *, is_sorted: bool) -> int | None:
    """Return which condition leads: the one that finds fewest; none when the order leads better."""
    able = [position for position, shape in enumerate(shapes) if _leads(shape)]
    for position in able:
        if shapes[position] == ("ids",):
            return None
    if len(able) == 1 and not is_sorted:
        return able[0]
    counts = {position: tx.execute(_few(shapes[position], f"c{position}"), asked).scalar_one() for position in able}
    best = min(able, key=lambda position: counts[position], default=None)
    if best is None or (is_sorted and counts[best] > FEW):
        return None
    return best


@lru_cache(_SHAPES)
def _few(shape: Shape, name: str) -> Select[Any]:
    value = fhir_value.alias("v")
    few = (
        select(_ONE)
        .where(value.c.reader == bindparam("reader"), _in_value(shape, name, value))
        .limit(FEW + 1)
        .subquery()
    )
    return select(func.count()).select_from(few)


@lru_cache(_SHAPES)
def _counted(shapes: tuple[Shape, ...]) -> Select[Any]:
    conditions = [_holds(shape, f"c{position}", _R) for position, shape in enumerate(shapes)]
    return select(func.count()).select_from(_R).where(*_OF_READER, *conditions)


@lru_cache(_SHAPES)
def _page(
    of: str,
    shapes: tuple[Shape, ...],
    leading: int | None,
    sorts: tuple[tuple[str, bool], ...],
    is_next: bool,  # noqa: FBT001
) -> Select[Any]:
    """Return the statement of a page: one row more than the page, so that it is known whether there is a next."""
    by = [(_sorted_by(of, param), is_descending) for param, is_descending in sorts]
    key = _R.c.key if leading is None else fhir_value.alias("d").c.resource
    led = fhir_value.alias("d") if leading is not None else None
    if led is not None:
        key = led.c.resource
    order = [*by, (key, by[0][1] if by else False)]
    statement = select(*_COLUMNS, *(column.label(f"s{position}") for position, (column, _) in enumerate(order)))
    if led is not None:
        statement = statement.select_from(led.join(_R, _R.c.key == led.c.resource)).distinct()
        statement = statement.where(
            led.c.reader == bindparam("reader"), _in_value(shapes[leading or 0], f"c{leading}", led)
        )
    else:
        statement = statement.where(*_OF_READER)
    others = [_holds(shape, f"c{position}", _R) for position, shape in enumerate(shapes) if position != leading]
    if is_next:
        others.append(_beyond(order))
    ordered = (column.desc() if is_descending else column for column, is_descending in order)
    return statement.where(*others).order_by(*ordered).limit(bindparam("most"))


def _sorted_by(of: str, param: str) -> ColumnElement[Any]:
    """Return what a resource is sorted by; what has no such date comes first, as the oldest."""
    if param == "_id":
        return _R.c.id
    if param == LAST_UPDATED:
        return _R.c.changed_at
    value = fhir_value.alias("s")
    earliest = select(func.min(value.c.low)).where(
        value.c.resource == _R.c.key, value.c.field == literal_column(str(field_of(of, param)))
    )
    return func.coalesce(earliest.scalar_subquery(), 0, type_=BigInteger())


def _beyond(order: Sequence[tuple[ColumnElement[Any], bool]]) -> ColumnElement[bool]:
    """Return the condition that a row comes after the place where a page ended."""
    reached = [bindparam(f"after{position}", type_=column.type) for position, (column, _) in enumerate(order)]
    cases = []
    for position, (column, is_descending) in enumerate(order):
        same = [before == value for (before, _), value in zip(order[:position], reached, strict=False)]
        further = column < reached[position] if is_descending else column > reached[position]
        cases.append(and_(*same, further))
    return or_(*cases)


def _inclusions(query: Query) -> Iterable[tuple[Include, Callable[[Include], Select[Any]]]]:
    yield from ((include, _including) for include in query.includes)
    yield from ((include, _reverse_including) for include in query.revincludes)


def _including(include: Include) -> Select[Any]:
    return _INCLUDED_OF_TYPE if include.target else _INCLUDED


def _reverse_including(_include: Include) -> Select[Any]:
    return _REVERSE


_L = fhir_value.alias("l")
_INCLUDED = (
    select(*_COLUMNS)
    .distinct()
    .where(
        one_of(_L.c.resource, "keys"),
        _L.c.field == bindparam("field"),
        _R.c.reader == bindparam("reader"),
        _R.c.name == _L.c.code,
    )
    .order_by(_R.c.key)
    .limit(bindparam("most"))
)
_INCLUDED_OF_TYPE = _INCLUDED.where(_R.c.type == bindparam("target"))
_REVERSE = (
    select(*_COLUMNS)
    .distinct()
    .where(
        _L.c.reader == bindparam("reader"),
        _L.c.field == bindparam("field"),
        one_of(_L.c.code, "names"),
        _R.c.key == _L.c.resource,
    )
    .order_by(_R.c.key)
    .limit(bindparam("most"))
)
