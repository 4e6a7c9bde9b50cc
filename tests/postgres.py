"""A real PostgreSQL server for a test: of the distribution's packages, else the one inside the wheel of pgserver."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import free_port

PACKAGED = Path("/usr/lib/postgresql")  # where Debian's packages have <version>/bin
OWNER = "postgres"  # whom they create: PostgreSQL refuses to run as root


@contextmanager
def server() -> Iterator[str]:
    """The address of a server with an empty database.

    Its folder is not below tmp_path: for root, the server runs as another user, and pytest takes that one's access to
    its folders away whenever another session starts.
    """
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        programs = sorted(PACKAGED.glob("*/bin/initdb"))
        if programs:
            with _packaged(programs[-1].parent, Path(folder)) as address:
                yield address
            return
        pgserver = pytest.importorskip(
            "pgserver", reason="neither PostgreSQL's packages nor pgserver, which has no wheel"
        )
        started = pgserver.get_server(folder)
        try:
            yield started.get_uri()
        finally:
            started.cleanup()


@contextmanager
def _packaged(programs: Path, folder: Path) -> Iterator[str]:
    user = OWNER if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    port, data = free_port(), folder / "data"

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(data), *arguments]
        output = (folder / "log").open("ab")
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=output, stderr=output, timeout=120)

    run("initdb", "--username", OWNER, "--auth", "trust", "--no-sync")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    run("pg_ctl", "start", "--wait", "-o", options)
    try:
        yield f"postgresql://{OWNER}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "stop", "--mode", "fast")
