"""A compiled record of a lens: the fields of one item of a document ↔ one record of the plan, both ways.

A plan path such as `label/recordedBy/organisation` leads through nested records; reading fills one bucket of values per record,
deepest first, and a nested record exists only when something of it does.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct

from mappings.declaration import FieldSpec
from mappings.document import unescape
from mappings.errors import FormatError
from mappings.fields import HOLDS, SCOPE_OF, Codec, WrongValueError, codec_of, key_writer, listed, pieces, referring
from mappings.plan import Actor, Label, Part
from mappings.reading import Reading, put
from mappings.steps import Buckets, Place, Step, actor_step, found_identifier, identifier_step, split_step

Tables = Mapping[str, Mapping[Any, Any]]
NO_DEFAULT: Any = object()
ALL_RESIDENTS: Any = object()
_LABEL = ("label",)


class Bucket(NamedTuple):
    """A record under construction."""

    path: tuple[str, ...]
    cls: type[Struct]
    parent: int
    attribute: str
    template: dict[str, Any]
    sources: dict[str, str]
    defaults: dict[str, Any]


class Writer(NamedTuple):
    """How one value gets into an item."""

    get: Callable[[Any], Any]
    default: Any
    encode: Callable[[Any], Any]
    names: tuple[str, ...]


Single = tuple[Callable[[Any], Any], int, str, bool]


class Shape:
    """The fields of one kind of item. `given` names the attributes that the lens itself fills."""

    def __init__(
        self,
        cls: type[Struct],
        fields: Iterable[FieldSpec],
        tables: Tables,
        numeric: frozenset[str],
        given: frozenset[str],
    ) -> None:
        """Compile. Raises FormatError."""
        self._tables, self._numeric = tables, numeric
        self._buckets: list[Bucket] = []
        self._bucket((), cls, -1, "")
        if issubclass(cls, Part):
            self._bucket(_LABEL, Label, 0, "label")
        self._singles: dict[str, Single] = {}
        self._steps: list[tuple[frozenset[str], Step]] = []
        self._writers: list[Writer] = []
        self._constants: list[tuple[Callable[[Any], Any], Any]] = []
        self.sources: list[str] = []
        for field in fields:
            self._add(field)
        required = [_required(bucket.cls) - (given if not bucket.path else frozenset()) for bucket in self._buckets]
        self._required = [(index, names) for index, names in enumerate(required) if names]
        self._check_complete()

    # ---- reading

    def read(self, flat: dict[str, Any], reading: Reading, base: str) -> Buckets | None:
        """Return the values per record, or None after noting what is wrong."""
        buckets = [bucket.template.copy() for bucket in self._buckets]
        sound, singles = True, self._singles
        for path, raw in flat.items():
            if (single := singles.get(path)) is None:
                continue
            read, index, attribute, is_ref = single
            try:
                value = read(raw)
            except WrongValueError as wrong:
                reading.wrong(base, path, wrong)
                sound = False
                continue
            buckets[index][attribute] = value
            if is_ref:
                reading.wanted.append((base, path, value))
        for paths, step in self._steps:
            if not flat.keys().isdisjoint(paths):
                sound = step(flat, buckets, reading, base) and sound
        if not sound:
            return None
        return buckets if self._complete(buckets, reading, base) else None

    def _complete(self, buckets: Buckets, reading: Reading, base: str) -> bool:
        complete = True
        for index, required in self._required:
            values = buckets[index]
            if required <= values.keys() or (index and not values):
                continue
            for attribute in sorted(required - values.keys()):
                reading.fail(base, "required", f"give the missing property {self._buckets[index].sources[attribute]}")
            complete = False
        return complete

    def content(self, buckets: Buckets, residents: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return what the values say beyond their defaults: the content that a generated key stands for."""
        return [
            {name: value for name, value in values.items() if value not in (bucket.defaults[name], residents)}
            for bucket, values in zip(self._buckets, buckets, strict=True)
        ]

    def build(self, buckets: Buckets, subjects: tuple[str, ...], **given: Any) -> Any:
        """Return the record with its nested records; `subjects` for a label that names none."""
        for index in range(len(buckets) - 1, 0, -1):
            bucket, values = self._buckets[index], buckets[index]
            if bucket.path == _LABEL:
                values.setdefault("subjects", subjects)
            if values:
                buckets[bucket.parent][bucket.attribute] = bucket.cls(**values)
        return self._buckets[0].cls(**buckets[0], **given)

    # ---- writing

    def fits(self, record: Any) -> bool:
        """Whether the record agrees with every constant."""
        return all(get(record) == constant for get, constant in self._constants)

    def write(self, record: Any, item: dict[str, Any], residents: tuple[str, ...]) -> None:
        """Put what the record says into the item."""
        for get, default, encode, names in self._writers:
            value = get(record)
            if value is None or value == (residents if default is ALL_RESIDENTS else default):
                continue
            if (raw := encode(value)) is None:
                continue
            if len(names) == 1:
                item[names[0]] = raw
            else:
                put(item, names, raw)

    # ---- compiling

    def _add(self, field: FieldSpec) -> None:
        self.sources += field.sources()
        if field.constant is not UNSET:
            self._add_constant(field)
        elif field.split is not None and not field.list:
            self._add_split(field)
        elif field.type == "actor":
            self._add_actor(field)
        elif field.system is not None:
            self._add_identifier(field)
        else:
            self._add_single(field)

    def _place(self, path: str) -> Place:
        names = path.split("/")
        index, attributes = 0, []
        for depth, name in enumerate(names):
            found = {known.encode_name: known for known in msgspec.structs.fields(self._buckets[index].cls)}.get(name)
            if found is None:
                raise FormatError(f"the plan has no field {path}")
            attributes.append(found.name)
            if depth < len(names) - 1:
                index = self._bucket(tuple(names[: depth + 1]), _bare(found.type), index, found.name)
            last = found
        default = last.default if last.default is not msgspec.NODEFAULT else NO_DEFAULT
        default = {"label/subjects": ALL_RESIDENTS, "id": ""}.get(path, default)
        return Place(index, attributes[-1], _bare(last.type), default, _getter(attributes))

    def _bucket(self, path: tuple[str, ...], cls: Any, parent: int, attribute: str) -> int:
        for index, bucket in enumerate(self._buckets):
            if bucket.path == path:
                return index
        if not (isinstance(cls, type) and issubclass(cls, Struct)) or cls is Actor:
            raise FormatError(f"the plan has nothing below {'/'.join(path)}")
        defaults = {field.name: field.default for field in msgspec.structs.fields(cls)}
        self._buckets.append(Bucket(path, cls, parent, attribute, {}, {}, defaults))
        return len(self._buckets) - 1

    def _add_constant(self, field: FieldSpec) -> None:
        place = self._place(_one(field.plan))
        value = _converted(field.constant, place.type)
        self._buckets[place.bucket].template[place.attribute] = value
        self._constants.append((place.get, value))

    def _add_single(self, field: FieldSpec) -> None:
        place, path = self._place(_one(field.plan)), _one(field.source)
        codec = self._codec(field, place)
        default = place.default
        if field.default is not UNSET:
            default = self._buckets[place.bucket].template[place.attribute] = _converted(field.default, place.type)
        self._buckets[place.bucket].sources[place.attribute] = path
        self._singles[path] = (codec.read, place.bucket, place.attribute, field.ref is not None)
        self._writers.append(Writer(place.get, NO_DEFAULT if field.always else default, codec.write, _names(path)))

    def _codec(self, field: FieldSpec, place: Place) -> Codec:
        if field.ref is not None:
            scope = SCOPE_OF[field.ref]
            codec = referring(scope, numeric=scope in self._numeric)
        else:
            codec = codec_of(field.type, self._table(field, place.type))
            if field.codes is None:
                _check_type(field, place)
        if field.list is not (get_origin(place.type) is tuple):
            raise FormatError(f"{field.plan} holds {'one value' if field.list else 'a list'}")
        return listed(codec, field.split) if field.list else codec

    def _table(self, field: FieldSpec, type_: Any) -> Mapping[Any, Any] | None:
        if field.codes is None:
            return None
        if field.codes not in self._tables:
            raise FormatError(f"there is no code table {field.codes}")
        element = get_args(type_)[0] if field.list else type_
        return {source: _converted(code, element) for source, code in self._tables[field.codes].items()}

    def _add_actor(self, field: FieldSpec) -> None:
        place = self._place(_one(field.plan))
        if place.type is not Actor or len(field.sources()) != 2:  # noqa: PLR2004
            raise FormatError(f"{field.plan}: an actor has a source pair [type, ref] and an actor in the plan")
        type_path, ref_path = field.sources()
        types = codec_of("text", self._table(field, Actor.__annotations__["type"]) or {name: name for name in SCOPE_OF})
        refs = {kind: referring(scope, numeric=scope in self._numeric) for kind, scope in SCOPE_OF.items()}
        self._buckets[place.bucket].sources[place.attribute] = type_path
        self._steps.append((frozenset(field.sources()), actor_step(place, type_path, ref_path, types, refs)))
        writers = {kind: key_writer(SCOPE_OF[kind], numeric=SCOPE_OF[kind] in self._numeric) for kind in SCOPE_OF}
        self._writers += (
            Writer(place.get, None, lambda actor: types.write(actor.type), _names(type_path)),
            Writer(place.get, None, lambda actor: actor.ref and writers[actor.type](actor.ref), _names(ref_path)),
        )

    def _add_identifier(self, field: FieldSpec) -> None:
        place, path, system = self._place(_one(field.plan)), _one(field.source), str(field.system)
        self._steps.append((frozenset({path}), identifier_step(place, path, system)))
        found = found_identifier(system)
        self._writers.append(Writer(place.get, (), found, _names(path)))

    def _add_split(self, field: FieldSpec) -> None:
        if isinstance(field.plan, str) or not field.split:
            raise FormatError(f"{field.plan}: a split needs a separator and several plan fields")
        places, path = [self._place(path) for path in field.plan], _one(field.source)
        for place in places:
            _check_type(field, place)
        codec = pieces(codec_of(field.type, None), field.split, len(places), from_end=field.side == "end")
        for place in places:
            self._buckets[place.bucket].sources[place.attribute] = path
        self._steps.append((frozenset({path}), split_step(places, path, codec)))
        self._writers.append(
            Writer(lambda record: [place.get(record) for place in places], NO_DEFAULT, codec.write, _names(path))
        )

    def _check_complete(self) -> None:
        if len(set(self.sources)) != len(self.sources):
            raise FormatError("a source path stands twice in one rule")
        for index, required in self._required:
            bucket = self._buckets[index]
            if missing := sorted(required - bucket.sources.keys() - bucket.template.keys()):
                raise FormatError(f"no field for {', '.join('/'.join((*bucket.path, name)) for name in missing)}")


def _getter(attributes: list[str]) -> Callable[[Any], Any]:
    """Return a getter along the attributes that gives None where the way ends."""
    if len(attributes) == 1:
        return attrgetter(attributes[0])
    if len(attributes) == 2 and attributes[0] == "label":  # noqa: PLR2004 (every part has one)
        return attrgetter(".".join(attributes))
    first, rest = attrgetter(attributes[0]), _getter(attributes[1:])

    def get(record: Any) -> Any:
        return None if (found := first(record)) is None else rest(found)

    return get


def _check_type(field: FieldSpec, place: Place) -> None:
    """Refuse a field whose type gives the plan something else than it holds."""
    wanted = get_args(place.type)[0] if get_origin(place.type) is tuple else place.type
    if isinstance(wanted, type) and HOLDS.get(field.type, str) is not wanted:
        raise FormatError(f"{field.plan} holds a {wanted.__name__}: give the type for it")


def _bare(type_: Any) -> Any:
    """Return the type without its None."""
    members = [member for member in get_args(type_) if member is not NoneType]
    return members[0] if NoneType in get_args(type_) and len(members) == 1 else type_


def _required(cls: type[Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(cls) if field.required) - {"subjects"}


def _converted(value: Any, type_: Any) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError:
        raise FormatError("a constant, default or code is not a value of its plan field") from None


def _one(path: str | tuple[str, ...] | None) -> str:
    if not isinstance(path, str):
        raise FormatError("one path is expected here")
    return path


def _names(path: str) -> tuple[str, ...]:
    return tuple(unescape(token) for token in path.split("/"))
