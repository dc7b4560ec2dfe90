"""Statements of SQLAlchemy Core, compiled once and run on the bare driver: the same text and the same rows in both databases.

SQLAlchemy writes the SQL and knows the types; its execution layer, which costs more than the databases do, is left out.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    ClauseElement,
    ColumnElement,
    Dialect,
    String,
    TypeDecorator,
    bindparam,
    literal_column,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

STATEMENTS_IN_HAND = 1_000
"""How many compiled statements are kept; those that stand in modules are far fewer."""

Values = Mapping[str, Any]
Converter = Callable[[Any], Any]


class Rows:
    """What a statement gave: rows with the names of their columns, and how many rows were written."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        """Return every row."""
        return self._rows

    def scalars(self) -> list[Any]:
        """Return the first column of every row."""
        return [row[0] for row in self._rows]

    def one_or_none(self) -> Any:
        """Return the only row, or None when there is none."""
        if len(self._rows) > 1:
            raise LookupError("more than one row")
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """Return the only row."""
        (row,) = self._rows
        return row

    def scalar_one(self) -> Any:
        """Return the only value."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """Return the only value, or None when there is no row."""
        row = self.one_or_none()
        return None if row is None else row[0]


class Prepared:
    """One statement for one database: its text, and how values go in and come out."""

    __slots__ = ("_constants", "_into", "_make", "_names", "_out", "gives_rows", "text")

    def __init__(self, compiled: SQLCompiler, dialect: Dialect) -> None:
        self.text = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._constants = {name: value for name, value in compiled.params.items() if name in self._names}
        self._into = _converters(
            (position, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for position, name in enumerate(self._names)
        )
        columns = tuple(compiled._result_columns or ())  # noqa: SLF001 - what the cursor will give has no public name
        self.gives_rows = bool(columns)
        self._out = _converters(
            (position, column.type.dialect_impl(dialect).result_processor(dialect, None))
            for position, column in enumerate(columns)
        )
        named = namedtuple("named", [column.keyname for column in columns], rename=True)  # type: ignore[misc] # its fields are known when it runs
        self._make: Callable[[Iterable[Any]], Any] = named._make

    def arguments(self, values: Values) -> list[Any]:
        """Return the values in the order of the text, as the driver wants them."""
        constants = self._constants
        made = [values[name] if name in values else constants[name] for name in self._names]
        for position, convert in self._into:
            made[position] = convert(made[position])
        return made

    def rows(self, found: Iterable[Sequence[Any]]) -> list[Any]:
        """Return rows of the driver with names and Python's types."""
        out, make = self._out, self._make
        if not out:
            return [make(values) for values in found]
        made = []
        for values in found:
            changed = list(values)
            for position, convert in out:
                changed[position] = convert(changed[position])
            made.append(make(changed))
        return made


class Catalogue:
    """Compiles statements for one database, each once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._prepared = lru_cache(STATEMENTS_IN_HAND)(self._prepare)

    def prepared(self, statement: ClauseElement, values: Values) -> Prepared:
        """Return a statement, ready to run with values of these names."""
        names = tuple(values) if getattr(statement, "is_insert", False) and values else None
        return self._prepared(statement, names)

    def _prepare(self, statement: ClauseElement, names: tuple[str, ...] | None) -> Prepared:
        keys = list(names) if names is not None else None
        compiled = statement.compile(dialect=self._dialect, column_keys=keys)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - every statement is SQL
        return Prepared(compiled, self._dialect)


def _converters(found: Iterable[tuple[int, Converter | None]]) -> tuple[tuple[int, Converter], ...]:
    return tuple((position, convert) for position, convert in found if convert is not None)


class Texts(TypeDecorator[Any]):
    """A list of texts as one value: an array in PostgreSQL, JSON in SQLite."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Choose the type that the database has."""
        return postgresql.ARRAY(String()) if dialect.name == "postgresql" else String()

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write the list as the database takes it."""
        listed = list(value)
        return listed if dialect.name == "postgresql" else msgspec.json.encode(listed).decode()


class Numbers(Texts):
    """A list of whole numbers as one value."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Choose the type that the database has."""
        return postgresql.ARRAY(BigInteger()) if dialect.name == "postgresql" else String()


class _OneOf(ColumnElement[bool]):
    """`column` is one of a list that is one parameter, so that the statement's text never changes."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.listed = bindparam(name, type_=Texts() if isinstance(column.type, String) else Numbers())


def one_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column is one of the texts, or whole numbers, in the parameter `name`."""
    return _OneOf(column, name)


def is_any(column: ColumnElement[Any], constants: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a column is one of these words of the program, which become part of the text."""
    return column.in_([literal_column(f"'{word}'") for word in constants])


@compiles(_OneOf, "postgresql")
def _in_array(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} = ANY ({compiler.process(element.listed, **options)})"


@compiles(_OneOf, "sqlite")
def _in_json(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, listed = compiler.process(element.column, **options), compiler.process(element.listed, **options)
    return f"{column} IN (SELECT value FROM json_each({listed}))"  # noqa: S608 - both are written by SQLAlchemy
