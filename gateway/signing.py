"""The keys that this gateway signs with: one that signs now, and older ones for as long as what they signed may be in use.

To change the key, rename `keys/gateway.jwk` to `keys/gateway-NAME.jwk` and put a new one in its place; a running gateway follows.
An older key is published and believed until the new one is older than any token.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.callers import ASSERTION_SECONDS, CLOCK_SKEW_SECONDS, TOKEN_SECONDS, load_signing_key, read_private_key
from gateway.clock import Clock
from gateway.logs import Log

SIGNING_KEY = "gateway.jwk"
LOOK_SECONDS = 1.0
OLDER_KEYS_STAY = timedelta(seconds=max(TOKEN_SECONDS, ASSERTION_SECONDS) + CLOCK_SKEW_SECONDS)

Stand = tuple[tuple[str, int, int], ...]


class SigningKeys:
    """The key files of a folder, looked at once a second at most."""

    def __init__(self, folder: Path, clock: Clock, log: Log) -> None:
        self._folder = folder
        self._clock = clock
        self._log = log
        self._current = load_signing_key(folder / SIGNING_KEY)
        self._older: tuple[ECKey, ...] = ()
        self._replaced_at = datetime.min.replace(tzinfo=UTC)
        self._stand: Stand | None = None
        self._looked_at = float("-inf")

    def now(self) -> tuple[ECKey, ...]:
        """Return the keys that are believed now; the first one signs."""
        if self._clock.ticks() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._clock.ticks()
            self._look()
        older = self._older if self._clock.now() < self._replaced_at + OLDER_KEYS_STAY else ()
        return (self._current, *older)

    def public(self) -> list[dict[str, Any]]:
        """Return the public halves, as JWKs."""
        return [{**key.as_dict(private=False), "use": "sig", "alg": "ES384"} for key in self.now()]

    def _look(self) -> None:
        """Read the keys when a file changed; what cannot be read, or is being written, changes nothing yet."""
        try:
            paths = self._paths()
            stats = [path.stat() for path in paths]
            stand = tuple((path.name, stat.st_mtime_ns, stat.st_ino) for path, stat in zip(paths, stats, strict=True))
            if stand == self._stand:
                return
            current, *older = [_read(path) for path in paths]
        except (OSError, ValueError, TypeError, KeyError, JoseError) as error:
            self._log("signing_keys_refused", error=type(error).__name__)
            return
        if self._stand is not None:
            self._log("signing_keys_changed", keys=len(paths))
        self._current, self._older, self._stand = current, tuple(older), stand
        self._replaced_at = datetime.fromtimestamp(stats[0].st_mtime, UTC)

    def _paths(self) -> Sequence[Path]:
        """Return the key that signs, and the older ones; the key that partners seal to is another matter."""
        older = sorted(path for path in self._folder.glob("gateway-*.jwk") if path.name != "gateway-enc.jwk")
        return [self._folder / SIGNING_KEY, *older]


def _read(path: Path) -> ECKey:
    key = read_private_key(path)
    key.ensure_kid()
    return key
