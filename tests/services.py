"""Start and stop a real RabbitMQ and a real PostgreSQL for the tests, from Debian's packages, without Docker.

Each server has its own folder, ports and process group, and dies with this process (`setpriv --pdeathsig`).
The waits end on an answer in the server's own protocol or on the end of its process.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")  # not /usr/sbin: that wrapper insists on the user rabbitmq
POSTGRESQL_BINS = Path("/usr/lib/postgresql")
START_TIMEOUT_SECONDS = 60
INSTALL = "run deploy/install-test-services.sh"
AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"


class MissingServiceError(Exception):
    """A service that a test asks for is not installed; the first argument is its name."""


class RabbitMq:
    """One RabbitMQ node with its own epmd; it may be shut down and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._dist_port, self._epmd_port = free_ports(3)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Answer with the URL of the node's default virtual host."""
        return self.url_of(user="guest", password="guest", vhost="")

    def url_of(self, *, user: str, password: str, vhost: str) -> str:
        """Answer with the URL for one user and virtual host."""
        return f"amqp://{user}:{password}@127.0.0.1:{self._port}/{vhost}"

    def start(self) -> None:
        """Start the node and wait until it speaks AMQP."""
        if self._epmd is None:
            epmd = [needed_binary("epmd", "RabbitMQ"), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = spawn(epmd, self._environment(), self._folder / "epmd.out")
        log = self._folder / "node.out"
        self._node = spawn([str(rabbitmq_binary("rabbitmq-server"))], self._environment(), log)
        wait_until_up(self._node, log, lambda: speaks_amqp(self._port))

    def shut_down(self) -> None:
        """Shut the node down in good order; its data stays and it can be started again.

        Not by a kill: a lone RabbitMQ 3.10 may then leave a quorum queue without a leader for ever
        (https://github.com/rabbitmq/rabbitmq-server/issues/10070), which would test RabbitMQ and not us.
        """
        assert self._node is not None, "start the node first"
        self._node.terminate()
        self._node.wait(timeout=START_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """Kill the node; its data stays. See `shut_down` and `elect` for what RabbitMQ 3.10 may make of that."""
        end(self._node)
        self._node = None

    def wipe(self) -> None:
        """Throw the data of a node that does not run away."""
        shutil.rmtree(self._folder / "data")

    def elect(self, queue: str) -> None:
        """Do what the runbook says for a lone node that was killed: let a quorum queue of the default vhost elect its leader."""
        self.control("eval", f"ra:trigger_election('%2F_{queue}').")

    def stop(self) -> None:
        """Kill the node and its epmd."""
        end(self._node)
        end(self._epmd)
        self._node = self._epmd = None

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this node and answer with what it printed."""
        command = [str(rabbitmq_binary("rabbitmqctl")), *arguments]
        return run(command, self._environment())

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            **os.environ,
            "HOME": folder,  # the Erlang cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"planbrug-{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",  # no busy waiting
            "detached": "1",  # the script becomes the node instead of watching it
        }


class PostgreSql:
    """One PostgreSQL server on the loopback, trusting everyone there.

    Without durability, unless it is `durable`: then what it has committed outlives a stop of the server (not of the machine).
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        self._owner: str | None = None
        self._binaries = postgresql_binaries()
        (self._port,) = free_ports(1)
        self._server: subprocess.Popen[bytes] | None = None

    def url_of(self, database: str) -> str:
        """Answer with the URL of one database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Make a new cluster, start it and wait until it accepts connections."""
        data = str(self._folder / "data")
        self._owner = give_to_postgres(self._folder)
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", owner=self._owner)
        self._serve()

    def restart(self, how: signal.Signals) -> None:
        """Stop the server, SIGINT as `pg_ctl -m fast`, SIGQUIT as `-m immediate`, and start it on the same data."""
        assert self._server is not None, "start the server first"
        self._server.send_signal(how)
        self._server.wait(timeout=START_TIMEOUT_SECONDS)
        self._serve()

    def stop(self) -> None:
        """Kill the server; its data is thrown away."""
        end(self._server)
        self._server = None

    def create_database(self, *, template: str = "template1") -> str:
        """Make a database as a copy of `template` and answer with its name."""
        name = f"test_{uuid.uuid4().hex}"
        self._run("createdb", *self._address(), "--template", template, name)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._run("dropdb", *self._address(), "--force", "--if-exists", name)

    def _serve(self) -> None:
        log = self._folder / "server.out"
        command = [str(self._binaries / "postgres"), *self._settings(self._folder / "data")]
        self._server = spawn(command, os.environ, log, owner=self._owner)
        wait_until_up(self._server, log, self._accepts)

    def _settings(self, data: Path) -> list[str]:
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}", "max_connections=200"]
        if not self._durable:
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        return ["-D", str(data), "-p", str(self._port), *(f"-c{setting}" for setting in settings)]

    def _address(self) -> tuple[str, ...]:
        return ("-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres")

    def _accepts(self) -> bool:
        command = [str(self._binaries / "pg_isready"), "-q", *self._address()]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str, owner: str | None = None) -> str:
        return run([*as_user(owner), str(self._binaries / program), *arguments], os.environ)


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[RabbitMq]:
    """Run a RabbitMQ node of its own, and leave nothing behind."""
    rabbitmq_binary("rabbitmq-server")
    with new_folder("rabbitmq") as folder:
        for name in ("rabbitmq-env.conf", "rabbitmq.conf"):
            (folder / name).touch()
        (folder / "enabled_plugins").write_text("[].\n")
        server = RabbitMq(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def running_postgresql(*, durable: bool = False) -> Iterator[PostgreSql]:
    """Run a PostgreSQL server of its own, and leave nothing behind."""
    postgresql_binaries()
    with new_folder("postgresql") as folder:
        server = PostgreSql(folder, durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def rabbitmq_binary(name: str) -> Path:
    """Answer with one of RabbitMQ's own scripts, or say that RabbitMQ is missing."""
    if not (RABBITMQ_BIN / name).exists():
        raise MissingServiceError("RabbitMQ")
    return RABBITMQ_BIN / name


def needed_binary(name: str, service: str) -> str:
    """Answer with a program on the path, or say which service is missing."""
    found = shutil.which(name)
    if found is None:
        raise MissingServiceError(service)
    return found


def postgresql_binaries() -> Path:
    """Answer with the folder of the newest PostgreSQL of Debian, else of the one on the path."""
    versions = sorted(POSTGRESQL_BINS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return (versions[-1] if versions else Path(needed_binary("postgres", "PostgreSQL"))).parent


@contextlib.contextmanager
def new_folder(name: str) -> Iterator[Path]:
    """Make a temporary folder that another user can reach, and remove it in the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"planbrug-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def give_to_postgres(folder: Path) -> str | None:
    """Give the folder to the user postgres when we are root, whom PostgreSQL refuses; answer with who it is now."""
    if os.geteuid() != 0:
        return None
    postgres = pwd.getpwnam("postgres")
    os.chown(folder, postgres.pw_uid, postgres.pw_gid)
    return "postgres"


def as_user(user: str | None) -> list[str]:
    """Answer with the words before a command that run it as another user."""
    return [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]


def spawn(
    command: Sequence[str], environment: Mapping[str, str], log: Path, *, owner: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own that the kernel kills when we die."""
    bound_to_us = [*(as_user(owner) or ["setpriv"]), "--pdeathsig=KILL"]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*bound_to_us, *command],
            env=dict(environment),
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Kill a server with its whole process group and wait until it is gone."""
    if process is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command to its end and answer with what it printed; its complaint is the error."""
    done = subprocess.run(command, env=dict(environment), cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{Path(command[0]).name} failed: {done.stdout}{done.stderr}"
    return done.stdout


def wait_until_up(process: subprocess.Popen[bytes], log: Path, answers: Callable[[], bool]) -> None:
    """Wait until the server answers; show the end of its log when it died or never did."""
    tries = START_TIMEOUT_SECONDS * 10
    for _ in range(tries):
        if answers():
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
            break
    raise AssertionError(f"{log.parent.name} did not come up: {log.read_text()[-2000:]}")


def speaks_amqp(port: int) -> bool:
    """Tell whether an AMQP 0-9-1 greeting on this port is answered with a method frame (connection.start)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(AMQP_GREETING)
            return connection.recv(1) == METHOD_FRAME
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Answer with that many loopback ports that are free now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
