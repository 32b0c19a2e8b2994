"""A program of one folder, run with the event on its standard input. A token of the API can have nothing else run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from healthd.alerts.message import Message
from healthd.alerts.sending import MAX_ANSWER, SEND_SECONDS, Means, NotDelivered, Secrets, shown_answer
from pdns_gtm_backend.domain.alert import Alert

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SETTLE_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.02
PART: Final = 65_536


def command(alert: Alert, _secrets: Secrets, message: Message, means: Means) -> str:
    """Run the program; exit code 0 = it took the event. It is killed, with all that it started, after 10 s."""
    if alert.command is None:
        raise NotDelivered("the alert names no command")
    path = found_program(means.commands, alert.command.name)
    with tempfile.TemporaryFile() as event:
        event.write(json.dumps(message.body, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        event.seek(0)
        return _run(path, event, _environment(alert.id, message))


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


def _environment(alert: str, message: Message) -> Mapping[str, str]:
    told = {"GTM_EVENT_ID": message.id, "GTM_EVENT_KIND": message.kind, "GTM_ALERT": alert}
    # No octet of an event of the store may end a variable early, which would raise.
    return {"PATH": SEARCH_PATH, "LANG": "C.UTF-8"} | {name: text.replace("\0", " ") for name, text in told.items()}


def _run(path: Path, event: IO[bytes], environment: Mapping[str, str]) -> str:
    try:
        process = subprocess.Popen(  # noqa: S603 - of the operator's folder
            [path],
            stdin=event,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise NotDelivered(f"{path.name} was not started: {error.strerror}") from None
    said = bytearray()
    reader = threading.Thread(target=_read, args=(process.stderr, said), name="alert command", daemon=True)
    reader.start()
    ended = _ends_within(process.pid, SEND_SECONDS)
    code = _end(process, reader)
    if not ended:
        raise NotDelivered(f"{path.name} had not ended after {SEND_SECONDS:g} s and was killed")
    if code != 0:
        status = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise NotDelivered(f"{path.name}: {status}: {shown_answer(bytes(said))}".rstrip(": "), status)
    return "exit code 0"


def _ends_within(pid: int, seconds: float) -> bool:
    """Wait for a child to end, but leave it as it is: until it is reaped, its number means no other process group."""
    deadline = time.monotonic() + seconds
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _end(process: subprocess.Popen[bytes], reader: threading.Thread) -> int:
    """Kill what is left of the process and of what it started, which has its process group; its exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    reader.join(SETTLE_SECONDS)
    return code


def _read(pipe: IO[bytes] | None, said: bytearray) -> None:
    """Keep the beginning of what comes, and take the rest, so that nobody waits for a reader."""
    if pipe is None:
        return
    with pipe, suppress(OSError, ValueError):
        while part := os.read(pipe.fileno(), PART):
            said += part[: max(0, MAX_ANSWER - len(said))]
