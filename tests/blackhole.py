"""A network that breaks in the ways in which networks break."""

import asyncio

from yarl import URL


class Blackhole:
    """A relay in front of RabbitMQ that can stop passing bytes without closing, as a broken network does."""

    def __init__(self, url: str) -> None:
        self._url = URL(url)
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.accepted = asyncio.Semaphore(0)

    async def __aenter__(self) -> str:
        """Listen, and answer with the URL."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return str(self._url.with_port(self._server.sockets[0].getsockname()[1]))

    async def __aexit__(self, *_: object) -> None:
        """Close every connection and stop listening."""
        self._server.close()
        await self._server.wait_closed()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def swallow(self) -> None:
        """From now on nothing comes through."""
        self._open.clear()

    def cut(self) -> None:
        """Close every connection; new ones are accepted and get no answer."""
        self.swallow()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.append(asyncio.create_task(self._pass_on(reader, writer)))
        self.accepted.release()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._url.port)
        self._writers.append(far_writer)
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
        writer.close()
