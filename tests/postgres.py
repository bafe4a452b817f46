"""A PostgreSQL of a test's own: made in a temporary folder, on loopback, with a password."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

USER = "valuesim"


@dataclass(frozen=True)
class Cluster:
    """A running server.

    Attributes:
        port: On 127.0.0.1.
        password: Of its only user.
        binaries: The folder of PostgreSQL's programs.
    """

    port: int
    password: str
    binaries: Path

    def url(self, database: str) -> str:
        """Return the SQLAlchemy address of a database, password included."""
        return f"postgresql+psycopg2://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def make(self, database: str) -> str:
        """Make a database and return its address."""
        self._run("createdb", database)
        return self.url(database)

    def dump(self, database: str) -> str:
        """Return everything that a database holds, as text."""
        return self._run("pg_dump", "--inserts", database)

    def _run(self, program: str, database: str, *options: str) -> str:
        known = {**os.environ, "PGPASSWORD": self.password, "PGUSER": USER}
        known |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.port)}
        command = [str(self.binaries / program), *options, database]
        return subprocess.run(command, env=known, check=True, capture_output=True, text=True).stdout


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where they, or the driver, are absent."""
    if os.name != "posix" or importlib.util.find_spec("psycopg2") is None:
        return None
    here = shutil.which("initdb")
    places = [Path(here).resolve().parent] if here else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wanted = ("initdb", "pg_ctl", "createdb", "pg_dump")
    return next((p for p in places if all((p / name).exists() for name in wanted)), None)


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Make a cluster, start it, and leave nothing of it behind.

    PostgreSQL refuses to run as root: there it runs as the user `postgres`.
    """
    programs = binaries()
    assert programs is not None, "skip where there is no PostgreSQL"
    folder = Path(tempfile.mkdtemp(prefix="valuesim-postgres-"))
    cluster = Cluster(free_port(), secrets.token_urlsafe(24), programs)
    secret = folder / "password"
    secret.write_text(cluster.password)
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        for path in (folder, secret):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    data = str(folder / "data")
    listening = f"-h 127.0.0.1 -p {cluster.port} -k {folder} -F"
    try:
        _as_its_user(
            *(str(programs / "initdb"), "-D", data, "-U", USER, "--pwfile", str(secret)),
            *("-A", "scram-sha-256", "--no-sync", "--locale", "C", "--encoding", "UTF8"),
        )
        control = (str(programs / "pg_ctl"), "-D", data, "-w")
        _as_its_user(*control, "-l", str(folder / "log"), "-o", listening, "start")
        try:
            yield cluster
        finally:
            _as_its_user(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_its_user(*command: str) -> None:
    lead: tuple[str, ...] = ()
    if os.geteuid() == 0:
        lead = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--")
    done = subprocess.run(
        [*lead, *command],
        # A folder that its user may enter.
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at.

    None of those that a system hands out, which others may get before it is used.
    """
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
