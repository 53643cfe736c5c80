"""Who left a file behind, and whether that process is proved dead."""

import hashlib
import os
import re
import socket
from pathlib import Path

PROC = Path("/proc")
TOKEN = re.compile(r"([0-9a-f]{12})-([0-9a-f]{12})-([0-9]*)-([0-9]+)-([0-9]*)")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _here() -> tuple[str, str, str]:
    """Digests of host and boot, and the number of the namespace of process numbers; '' if unknown."""
    host = _short(socket.gethostname(), _text(Path("/etc/machine-id")))
    boot = _short(_text(PROC / "sys/kernel/random/boot_id"))
    try:
        namespace = os.readlink(PROC / "self/ns/pid")
    except OSError:
        namespace = ""
    return host, boot, "".join(filter(str.isdigit, namespace))


def _state(pid: int) -> tuple[str, bool]:
    """Start of a process in ticks since the boot, '' if unknown, and whether it is a zombie."""
    try:
        # A /proc that was mounted for other namespaces numbers processes in its own way.
        ours = os.readlink(PROC / "self") == str(os.getpid())
    except OSError:
        ours = False
    # The second field is the command in parentheses, and may hold anything (proc_pid_stat(5)).
    fields = _text(PROC / str(pid) / "stat").rpartition(")")[2].split() if ours else []
    if len(fields) < 20:
        return "", False
    # While other threads run, a process whose first thread has ended looks like a zombie too.
    return fields[19], fields[0] in "ZX" and int(fields[17]) <= 1


def token() -> str:
    """This process in the letters of a file name: host, boot, namespace, number, start."""
    return "-".join([*_here(), str(os.getpid()), _state(os.getpid())[0]])


def dead(token: str) -> bool:
    """Whether the process of a ``token()`` is proved to be dead; False where there is any doubt."""
    found = TOKEN.fullmatch(token)
    if not found:
        return False
    host, boot, namespace, pid, start = found.groups()
    here = _here()
    if host != here[0]:
        return False
    if boot != here[1]:
        return True
    if namespace != here[2]:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    now, zombie = _state(int(pid))
    return zombie or ("" not in (now, start) and now != start)
