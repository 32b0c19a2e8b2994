"""The supervisor: one thread that starts the parts, starts again what dies, and stops all of them in order."""

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Final

from pdns_gtm_backend.standalone import plan, process
from pdns_gtm_backend.standalone.control import answer_request, listening
from pdns_gtm_backend.standalone.layout import Layout
from pdns_gtm_backend.standalone.output import Console, Lines, LogFile
from pdns_gtm_backend.standalone.plan import Part, State

SETTLE_SECONDS: Final = 30.0
HURRY_SECONDS: Final = 1.0
"""A second Ctrl-C counts from here on: `timeout` and make both pass on one signal."""
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READ_BYTES: Final = 65_536
HOPELESS: Final = 3
"""A part that dies at once so often in a row does not come back soon: who asks is refused, and waits no longer."""
SELF: Final = "run"


class Supervisor:
    """Runs `parts` until a signal says stop. settled: called once, with the names of those that are not ready yet."""

    def __init__(
        self,
        parts: Mapping[str, Part],
        layout: Layout,
        console: Console,
        environment: Mapping[str, str],
        settled: Callable[[Sequence[str]], None],
    ) -> None:
        self.parts = parts
        self.states = dict.fromkeys(parts, State())
        self._layout = layout
        self._console = console
        self._environment = {**environment, process.MARK: str(layout.var)}
        self._settled: Callable[[Sequence[str]], None] | None = settled
        self._selector = selectors.DefaultSelector()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lines: dict[str, Lines] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._logs: dict[str, LogFile] = {}
        self._stopping: float | None = None
        self._hurry = False
        self._began = time.monotonic()

    def run(self) -> None:
        """Return when every part has been stopped, as SIGINT, SIGTERM or SIGHUP asks."""
        with _signals() as signals, listening(self._layout.control_socket) as control:
            self._selector.register(signals, selectors.EVENT_READ, self._take_signals)
            self._selector.register(control, selectors.EVENT_READ, self._take_request)
            try:
                while self._stopping is None or self._processes:
                    self._step()
                self.say("stopped")
            finally:
                for name, running in self._processes.items():
                    process.send_group(running.pid, signal.SIGKILL)
                    running.wait()
                    self._layout.pid_file(name).unlink(missing_ok=True)
                for log in self._logs.values():
                    log.close()
                for kept in self._sockets.values():
                    kept.close()
                self._selector.close()

    def say(self, text: str) -> None:
        """A line of the supervisor itself."""
        line = text.encode()
        self._log(SELF).write([time.strftime("%FT%TZ ", time.gmtime()).encode() + line])
        self._console.show(SELF, [line])

    def _step(self) -> None:
        stopping = self._stopping is not None
        for action in plan.decide(self.parts, self.states, time.monotonic(), stopping=stopping, hurry=self._hurry):
            self._verbs[action.verb](self, action.part)
        self._report_settled()
        patience = plan.wait(self.parts, self.states, time.monotonic(), stopping=stopping)
        if self._settled is not None:
            patience = 1.0 if patience is None else min(patience, 1.0)
        for key, _ in self._selector.select(patience):
            key.data(key.fileobj)
        self._reap()

    def _start(self, name: str) -> None:
        part = self.parts[name]
        try:
            kept = [] if part.listen is None else [self._kept(name, part.listen)]
            command = [*part.command, *map(str, kept)]
            running = process.spawn(command, {**self._environment, **part.environment}, kept)
        except OSError as error:
            self.states[name] = plan.failed_to_start(self.states[name], time.monotonic())
            self.say(f"{name} cannot be started: {error}; {self._next_start(name)}")
            return
        assert running.stdout is not None  # noqa: S101
        os.set_blocking(running.stdout.fileno(), False)
        self._processes[name], self._lines[name] = running, Lines()
        self._selector.register(running.stdout, selectors.EVENT_READ, lambda _: self._take_output(name))
        self.states[name] = plan.started(self.states[name], running.pid, time.monotonic())
        self._write_pid(name, running.pid)

    def _kept(self, name: str, make: Callable[[], socket.socket]) -> int:
        """The descriptor of the socket that a part listens on, made once. Raises OSError."""
        if name not in self._sockets:
            self._sockets[name] = make()
        return self._sockets[name].fileno()

    def _check(self, name: str) -> None:
        state, part = self.states[name], self.parts[name]
        if part.ready():
            self.states[name] = plan.seen_ready(state)
            self.say(f"{name} is ready after {time.monotonic() - state.started:.1f} s (pid {state.pid})")

    def _terminate(self, name: str) -> None:
        pid = self._processes[name].pid
        process.send(pid, signal.SIGTERM)
        # A stopped process gets SIGTERM only when it goes on.
        process.send(pid, signal.SIGCONT)
        self.states[name] = plan.terminated(self.states[name], time.monotonic())

    def _kill(self, name: str) -> None:
        if not self._hurry:
            self.say(f"{name} did not stop within {self.parts[name].grace:g} s: killing it")
        process.send_group(self._processes[name].pid, signal.SIGKILL)
        self.states[name] = plan.killed(self.states[name])

    _verbs: Final[Mapping[str, Callable[["Supervisor", str], None]]] = {
        "start": _start,
        "check": _check,
        "terminate": _terminate,
        "kill": _kill,
    }

    def _reap(self) -> None:
        for name, running in list(self._processes.items()):
            status = process.reap(running)
            if status is None:
                continue
            self._forget(name)
            before = self.states[name]
            self.states[name] = plan.exited(self.parts[name], before, time.monotonic())
            if self.states[name].failures >= HOPELESS and name in self._sockets:
                self._sockets.pop(name).close()
            if self._stopping is None:
                self._report_exit(name, status, time.monotonic() - before.started)

    def _forget(self, name: str) -> None:
        while self._take_output(name):
            pass
        running, lines = self._processes.pop(name), self._lines.pop(name)
        assert running.stdout is not None  # noqa: S101
        self._unwatch(running.stdout)
        running.stdout.close()
        self._show(name, lines.end())
        self._layout.pid_file(name).unlink(missing_ok=True)

    def _report_exit(self, name: str, status: int, lasted: float) -> None:
        part = self.parts[name]
        if status == 0 and not part.restart:
            return
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.say(f"{name} {how} after {lasted:.1f} s; {self._next_start(name)}")

    def _next_start(self, name: str) -> str:
        if not self.parts[name].restart:
            return "it stays down until it is asked for"
        delay = max(0.0, self.states[name].due - time.monotonic())
        return "starting it again" + (f" in {delay:.1f} s" if delay else "")

    def _report_settled(self) -> None:
        if self._settled is None or self._stopping is not None:
            return
        late = plan.late(self.states)
        if not late or time.monotonic() - self._began > SETTLE_SECONDS:
            report, self._settled = self._settled, None
            report(late)

    def _write_pid(self, name: str, pid: int) -> None:
        path = self._layout.pid_file(name)
        temporary = path.with_suffix(".new")
        try:
            temporary.write_text(f"{pid}\n")
            temporary.replace(path)
        except OSError as error:
            self.say(f"{path} cannot be written: {error}; {name} runs as pid {pid}")

    def _take_output(self, name: str) -> bool:
        """Read once; False when there is nothing to read."""
        stdout = self._processes[name].stdout
        assert stdout is not None  # noqa: S101
        try:
            data = os.read(stdout.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._unwatch(stdout)
        self._show(name, self._lines[name].feed(data))
        return bool(data)

    def _unwatch(self, stdout: IO[bytes]) -> None:
        if stdout in self._selector.get_map():
            self._selector.unregister(stdout)

    def _take_signals(self, receiving: socket.socket) -> None:
        now = time.monotonic()
        for number in receiving.recv(READ_BYTES):
            if number not in STOP_SIGNALS:
                continue
            if self._stopping is None:
                self._stopping = now
                self.say(f"stopping ({signal.Signals(number).name})")
            elif number == signal.SIGINT and now - self._stopping > HURRY_SECONDS:
                self._hurry = True

    def _take_request(self, listener: socket.socket) -> None:
        answer_request(listener, self._start_on_request)

    def _start_on_request(self, name: str) -> str:
        if name not in self.parts or self.parts[name].restart:
            known = ", ".join(part.name for part in self.parts.values() if not part.restart)
            return f"there is no {name!r} that could be asked for; there is: {known or 'nothing'}"
        if self.states[name].running:
            return f"{name} is running already (pid {self.states[name].pid})"
        self.states[name] = plan.asked_for(self.states[name], time.monotonic())
        return f"starting {name}"

    def _show(self, name: str, lines: list[bytes]) -> None:
        if lines:
            self._log(name).write(lines)
            self._console.show(name, lines)

    def _log(self, name: str) -> LogFile:
        if name not in self._logs:
            self._logs[name] = LogFile(self._layout.logs / f"{name}.log")
        return self._logs[name]


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that gets a byte, the number, for each stop signal and each child that ends."""
    receiving, sending = socket.socketpair()
    receiving.setblocking(False)
    sending.setblocking(False)
    # nohup has the hang-up ignored, and that is to stay.
    wanted = [n for n in (*STOP_SIGNALS, signal.SIGCHLD) if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    earlier = {number: signal.signal(number, _noted) for number in wanted}
    wakeup = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    try:
        yield receiving
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in earlier.items():
            signal.signal(number, handler)
        receiving.close()
        sending.close()


def _noted(_number: int, _frame: object) -> None:
    """The wake-up descriptor carries the number."""
