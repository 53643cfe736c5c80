"""An XRootD server that shows the files of a folder, on the loopback alone."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 30  # seconds until the server must answer
# The server does not run as root.
USER = "nobody"
CONFIGURATION = """\
all.export /
all.adminpath {folder}/admin
all.pidpath {folder}/admin
oss.localroot {folder}/files
xrd.port {port}
xrd.network nodnr
xrd.allow host 127.0.0.1
xrd.maxfd 1024
"""


def missing() -> str:
    """Why there can be no server here, in words; '' where there can."""
    if not shutil.which("xrootd"):
        return "no xrootd: make test-cluster installs it"
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        return "a network beside the loopback: make test-cluster runs it without"
    return ""


class Server:
    """A server, which can be stopped and started again; its files lie in ``files``."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.files, self.port = folder, folder / "files", port
        self.process: subprocess.Popen | None = None
        for name in ("files", "admin"):
            (folder / name).mkdir()
        (folder / "server.cfg").write_text(CONFIGURATION.format(folder=folder, port=port))
        for place in (folder, *folder.iterdir()):
            shutil.chown(place, USER)

    def address(self, name: str) -> str:
        """The address of a file."""
        return f"root://127.0.0.1:{self.port}//{name}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        user = pwd.getpwnam(USER).pw_uid if os.geteuid() == 0 else None
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(
                ["xrootd", "-c", str(self.folder / "server.cfg"), "-I", "v4"],
                cwd=self.folder, stdout=log, stderr=log, user=user,
            )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < end, (self.folder / "server.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.2)

    def stop(self) -> None:
        """Stop it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def serving(folder: Path, port: int = 10940) -> Iterator[Server]:
    """A server of a folder, until the end of the block."""
    server = Server(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
