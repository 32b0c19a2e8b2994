"""A program of one folder, run with the event on its standard input. A token of the API can have nothing else run."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from healthd.alerts.message import Message
from healthd.alerts.sending import MAX_ANSWER, SEND_SECONDS, Means, NotDelivered, Secrets, building, shown_answer
from pdns_gtm_backend.domain.alert import Alert

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLL_SECONDS: Final = 0.02
PART: Final = 65_536


def command(alert: Alert, _secrets: Secrets, message: Message, means: Means) -> str:
    """Run the program; exit code 0 = it took the event. It is killed after 10 s.

    Its process group ends with it. What has left the group goes on, but nobody reads what it says.
    """
    if alert.command is None:
        raise NotDelivered("the alert names no command")
    path = found_program(means.commands, alert.command.name)
    with building():
        octets, told = input_of(message), environment(alert.id, message)
    with tempfile.TemporaryFile() as event:
        event.write(octets)
        event.seek(0)
        return _run(path, event, told)


def found_program(folder: Path | None, name: str) -> Path:
    """The program of that name. Raises NotDelivered where there is none that may be run."""
    if folder is None:
        raise NotDelivered("GTM_ALERT_COMMANDS names no folder of programs on this healthd")
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError):
        raise NotDelivered(f"there is no program {name} in {folder} (GTM_ALERT_COMMANDS)") from None
    if path.parent != folder.resolve():
        raise NotDelivered(f"{name} leads out of {folder} (GTM_ALERT_COMMANDS)")
    if not path.is_file() or not os.access(path, os.X_OK):
        raise NotDelivered(f"{name} in {folder} is no executable file")
    return path


def input_of(message: Message) -> bytes:
    """What a program reads from its standard input: the event as one line of JSON."""
    return json.dumps(message.body, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def environment(alert: str, message: Message) -> Mapping[str, str]:
    """All variables that a program has."""
    told = {"GTM_EVENT_ID": message.id, "GTM_EVENT_KIND": message.kind, "GTM_ALERT": alert}
    # An octet 0 would end a variable early, which is refused; half a surrogate pair cannot be encoded.
    clean = {name: text.replace("\0", " ").encode("utf-8", "replace").decode() for name, text in told.items()}
    return {"PATH": SEARCH_PATH, "LANG": "C.UTF-8"} | clean


def _run(path: Path, event: IO[bytes], variables: Mapping[str, str]) -> str:
    try:
        process = subprocess.Popen(  # noqa: S603 - of the operator's folder
            [path],
            stdin=event,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=variables,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise NotDelivered(f"{path.name} was not started: {error.strerror}") from None
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    said = bytearray()
    with process.stderr as pipe:
        try:
            os.set_blocking(pipe.fileno(), False)
            ended = _ends_within(process.pid, pipe.fileno(), SEND_SECONDS, said)
        finally:
            code = _end(process)
        while len(said) < MAX_ANSWER and _read(pipe.fileno(), said):
            pass
    if not ended:
        raise NotDelivered(f"{path.name} had not ended after {SEND_SECONDS:g} s and was killed")
    if code != 0:
        status = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise NotDelivered(f"{path.name}: {status}: {shown_answer(bytes(said))}".rstrip(": "), status)
    return "exit code 0"


def _ends_within(pid: int, pipe: int, seconds: float, said: bytearray) -> bool:
    """Read what a child says until it ends, and leave it as it is: until it is reaped, its number means no other
    process group.
    """
    deadline = time.monotonic() + seconds
    speaks, waiting = True, select.poll()
    waiting.register(pipe, select.POLLIN)
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            return False
        if not speaks:
            time.sleep(POLL_SECONDS)
        elif waiting.poll(1000 * POLL_SECONDS):
            speaks = _read(pipe, said)
    return True


def _end(process: subprocess.Popen[bytes]) -> int:
    """Kill what is left of the process and of what it started, which has its process group; its exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _read(pipe: int, said: bytearray) -> bool:
    """Take what is there, so that nobody waits for a reader, and keep its beginning. False: nothing is."""
    try:
        part = os.read(pipe, PART)
    except OSError:
        return False
    said += part[: max(0, MAX_ANSWER - len(said))]
    return bool(part)
