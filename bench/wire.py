"""The least of HTTP/1.1 that load generator and receivers need: heads and bodies of a known length, on connections that stay open.

Plain on purpose: on a small machine every microsecond here is taken from whoever is measured.
"""

import asyncio

HEAD_ENDS = b"\r\n\r\n"


class WireError(Exception):
    """The other side closed the connection, or speaks something else."""


def header(head: bytes, name: bytes) -> bytes:
    """Return a header's value, empty when it is absent; `name` in lower case."""
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return b""


class Caller:
    """One connection to a service."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Send one request and return status and body. `head` lacks Content-Length and the blank line."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=8_000_000)
        assert self._reader is not None
        self._writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        try:
            answered = await self._reader.readuntil(HEAD_ENDS)
            content = await self._reader.readexactly(int(header(answered, b"content-length") or 0))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WireError("the service closed the connection") from error
        return int(answered[9:12]), content

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
