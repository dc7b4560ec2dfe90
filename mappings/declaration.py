"""The grammar of mapping.yaml: what an integrator may declare, checked to the letter and not yet compiled.

Paths are RFC 6901 tokens joined by `/`, from the item; `each` and `at` start from the document with a `/`.
"""

import re
from typing import Any, Literal

import msgspec
import yaml
from msgspec import UNSET, Struct

from mappings.codes import Kind
from mappings.errors import FormatError
from mappings.fields import RefScope, Type


class FieldSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of `fields`.

    `source` is absent for a `constant`, a pair [type, ref] for an `actor`; `plan` is a list with `split`. `default` is what an
    absent source means, when not the plan's own default; `always` writes the field even when it says its default. `system`
    makes the field one of the plan's identifiers.
    """

    plan: str | tuple[str, ...]
    source: str | tuple[str, ...] | None = None
    type: Type = "text"
    codes: str | None = None
    ref: RefScope | None = None
    list: bool = False
    split: str | None = None
    side: Literal["start", "end"] = "start"
    system: str | None = None
    constant: Any = UNSET
    default: Any = UNSET
    always: bool = False

    def sources(self) -> tuple[str, ...]:
        """Return the source paths."""
        if self.source is None:
            return ()
        return (self.source,) if isinstance(self.source, str) else self.source


class ListSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where items stand: `each` points at a list, `at` at one object.

    `key` is the path of the field that identifies an item; `numeric` keys are written as numbers where they are numbers.
    """

    each: str | None = None
    at: str | None = None
    key: str | None = None
    numeric: bool = False
    fields: tuple[FieldSpec, ...] = ()

    @property
    def path(self) -> str:
        """The path without its leading slash."""
        return (self.each if self.each is not None else self.at or "").removeprefix("/")

    @property
    def single(self) -> bool:
        """Whether there is one object instead of a list."""
        return self.each is None

    def check(self) -> None:
        """Raise FormatError unless it says once where the items stand."""
        pointer = self.at if self.each is None else self.each
        if (self.each is None) is (self.at is None) or not (pointer == "" or str(pointer).startswith("/")):
            raise FormatError("expected either `each` or `at`, a path that starts with /")


class RuleSpec(ListSpec, frozen=True, kw_only=True):
    """Items that become parts of one kind. `label` is the path before the common label fields, false for none of them."""

    part: Kind
    label: str | bool = ""


class MappingSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What mapping.yaml holds. `label`: the fields that every rule has unless it maps the same plan path itself.

    `blocks` is a place for YAML anchors and is not read.
    """

    name: str
    version: str
    title: str
    header: tuple[FieldSpec, ...]
    residents: ListSpec
    rules: tuple[RuleSpec, ...]
    organisations: ListSpec | None = None
    codes: dict[str, dict[str | int | bool, str | int | bool]] = {}
    label: tuple[FieldSpec, ...] = ()
    blocks: Any = None


def declare(source: bytes) -> MappingSpec:
    """Return what mapping.yaml declares. Raises FormatError."""
    try:
        return msgspec.convert(yaml.load(source, _Loader), MappingSpec)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FormatError(f"mapping.yaml, line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise FormatError("mapping.yaml: expected YAML in UTF-8") from None
    except msgspec.ValidationError as error:
        raise FormatError(f"mapping.yaml: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars (`on` is a word, a date is text), and no key twice."""

    yaml_implicit_resolvers = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        names = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if len(names) != len(set(names)):
            raise yaml.MarkedYAMLError(problem="a key stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", "^(?:true|false)$", "tf"),
    ("int", "^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("null", "^(?:~|null|)$", ["~", "n", ""]),
    ("merge", "^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
