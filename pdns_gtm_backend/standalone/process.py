"""Processes of the parts: started so that they end with the supervisor, and found again where they did not."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

MARK: Final = "PDNS_GTM_SUPERVISED"
"""In the environment of every process that a supervisor starts: the `$GTM_VAR` that it belongs to."""
PR_SET_PDEATHSIG: Final = 1
SWEEP_SECONDS: Final = 5.0

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def spawn(
    command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, with its output in one pipe. Raises OSError where it cannot be run.

    descriptors: of ours that it gets too.

    The kernel sends it SIGTERM when this process ends, however that happens (prctl(2), PR_SET_PDEATHSIG). Call it from
    the main thread: the signal follows the thread that started the child.
    """
    parent = os.getpid()

    def end_with_parent() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(
        list(command),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=end_with_parent,
        pass_fds=descriptors,
    )


def reap(process: subprocess.Popen[bytes]) -> int | None:
    """The exit status of `process` (negative = signal) once it has ended, else None; what it leaves behind is killed.

    The leader is still a zombie while its group is killed, so that nobody else can hold the number.
    """
    if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    send_group(process.pid, signal.SIGKILL)
    return process.wait()


def send_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it is still there."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def left_behind(var: Path) -> Mapping[int, str]:
    """Processes (id -> command) of an earlier supervisor of `var`. Call it only while holding the lock of `var`."""
    wanted = f"{MARK}={var}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace").strip()
        except OSError:
            continue
    return found


def sweep(var: Path) -> Mapping[int, str]:
    """End what an earlier supervisor of `var` left behind; returns what that was."""
    swept = left_behind(var)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + SWEEP_SECONDS
        remaining = left_behind(var) if swept else {}
        for pid in remaining:
            send(pid, number)
        while remaining and time.monotonic() < deadline:
            time.sleep(0.05)
            remaining = left_behind(var)
    return swept


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
