"""Serve a gateway until somebody asks it to stop."""

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.app import build_app, build_metrics_app
from gateway.settings import Settings, SettingsError
from gateway.wiring import Gateway, open_gateway

SHUTDOWN_SECONDS = 5
HEADER_LIMIT_BYTES = 32_768
"""The largest header that is judged here, and answered as everything else is; beyond it the server answers by itself, with 400."""

COLLECT_AFTER = 10_000
"""Objects made and kept before the collector looks at the youngest."""

Story = Callable[[Gateway], Awaitable[None]]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Gateway]:
    """Open a gateway and answer requests. Raises SettingsError when an address is taken."""
    with contextlib.closing(_bound(settings.bind, settings.port)) as listening:
        port = listening.getsockname()[1]
        tls = _tls(settings)
        public_url = settings.public_url.rstrip("/") or f"{'https' if tls else 'http'}://{settings.bind}:{port}"
        async with open_gateway(settings, public_url) as gateway:
            runner = await _running(build_app(gateway), listening, tls)
            metrics = await _metrics(gateway)
            gateway.log("gateway_started", mode=settings.mode, port=port)
            try:
                yield gateway
            finally:
                for started in (runner, metrics):
                    if started is not None:
                        await started.cleanup()
                gateway.log("gateway_stopped")


async def serve(settings: Settings, story: Story | None = None) -> None:
    """Serve until SIGTERM or SIGINT; ready once the story, if there is one, is told."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with serving(settings) as gateway:
        _settle_memory()
        telling = asyncio.create_task(_told(gateway, story))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((telling, stopping), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
        await stopping


def _settle_memory() -> None:
    """Leave what is there from the start out of every later collection, and collect less often: records are trees, not cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)


async def _told(gateway: Gateway, story: Story | None) -> None:
    if story is not None:
        await story(gateway)
    gateway.started.set()


async def _running(app: web.Application, listening: socket.socket, tls: ssl.SSLContext | None = None) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, max_field_size=HEADER_LIMIT_BYTES)
    await runner.setup()
    await web.SockSite(runner, listening, ssl_context=tls).start()
    return runner


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Return how the gateway speaks TLS itself, and by which authorities it judges client certificates; who shows none may go on.

    Raises SettingsError.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        tls.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=lambda: b"")
        if settings.tls_client_ca_file is not None:
            tls.load_verify_locations(settings.tls_client_ca_file)
            tls.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ValueError) as error:
        raise SettingsError(
            "TLS_CERT_FILE, TLS_KEY_FILE and TLS_CLIENT_CA_FILE are PEM, without a password, and belong together"
        ) from error
    return tls


async def _metrics(gateway: Gateway) -> web.AppRunner | None:
    if not gateway.settings.metrics_bind:
        return None
    host, _, port = gateway.settings.metrics_bind.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError("METRICS_BIND is an address and a port, such as 127.0.0.1:9464")
    return await _running(build_metrics_app(gateway), _bound(host, int(port)))


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(f"port {port} on {host} is taken or not allowed; give another PORT") from error
    return listening
