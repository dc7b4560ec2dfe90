"""The plan formats on the shelf: those of the package, and those that an integrator put in FORMATS_DIR.

A changed folder is read again when it is next asked for; a broken one is refused, said in the log, and the old one stays.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.logs import Log
from mappings.errors import FormatError
from mappings.format import Format, compile_format

_FILES = ("mapping.yaml", "schema.json")


class Shelf:
    """Formats by name."""

    def __init__(self, folder: Path | None, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._formats: dict[str, Format] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        for packaged in sorted((files("mappings") / "formats").iterdir(), key=lambda place: place.name):
            if (packaged / _FILES[0]).is_file():
                self._formats[packaged.name] = read_format(packaged)
        self._refresh()

    def get(self, name: str) -> Format | None:
        """Return a format as it is now, or None."""
        self._refresh()
        return self._formats.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the names of all formats, sorted."""
        self._refresh()
        return tuple(sorted(self._formats))

    def _refresh(self) -> None:
        if self._folder is None or not self._folder.is_dir():
            return
        for place in sorted(self._folder.iterdir()):
            stamp = _stamp(place)
            if stamp and self._stamps.get(place.name) != stamp:
                self._stamps[place.name] = stamp
                self._reload(place)

    def _reload(self, place: Path) -> None:
        try:
            self._formats[place.name] = read_format(place)
        except FormatError as error:
            self._log("format_refused", format=place.name, error=str(error))


def read_format(folder: Traversable) -> Format:
    """Read and compile one format folder. Raises FormatError."""
    try:
        mapping, schema = ((folder / name).read_bytes() for name in _FILES)
    except OSError as error:
        raise FormatError(f"a format folder holds {' and '.join(_FILES)}") from error
    return compile_format(folder.name, mapping, schema)


def _stamp(place: Path) -> tuple[int, ...]:
    """Return what changes when a folder's files change; empty when it is no format folder."""
    paths = [place / name for name in _FILES]
    if not all(path.is_file() for path in paths):
        return ()
    return tuple(number for path in paths for number in (path.stat().st_mtime_ns, path.stat().st_size))
