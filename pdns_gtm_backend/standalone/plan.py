"""What the supervisor does next: pure decisions about parts, with time as an argument (seconds, monotonic)."""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

PATIENCE_SECONDS: Final = 15.0
"""How long a part waits for one that it comes after, from that one's first start."""
STABLE_SECONDS: Final = 5.0
"""A part that has run for so long is started again at once when it dies."""
FIRST_DELAY_SECONDS: Final = 0.2
LONGEST_DELAY_SECONDS: Final = 5.0
KILL_PATIENCE_SECONDS: Final = 5.0
READY_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the system.

    after: parts that must be ready before this one starts; it is stopped before they are.
    restart: is it started again when it dies?
    ready: does it do its work now? Must answer within half a second and not raise.
    grace: seconds between SIGTERM and SIGKILL.
    listen: makes the socket that is kept while it restarts; its descriptor ends the command. May raise OSError.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    after: Sequence[str] = ()
    restart: bool = True
    ready: Callable[[], bool] = lambda: True
    grace: float = KILL_PATIENCE_SECONDS
    listen: Callable[[], socket.socket] | None = None


@dataclass(frozen=True, slots=True)
class State:
    """How one part stands.

    failures: deaths in a row, each before STABLE_SECONDS.
    due: not started before.
    wanted: False = it stays down until someone asks for it.
    """

    pid: int | None = None
    first_started: float | None = None
    started: float = 0.0
    ready: bool = False
    failures: int = 0
    due: float = 0.0
    wanted: bool = True
    terminated: float | None = None
    killed: bool = False

    @property
    def running(self) -> bool:
        """Is there a process?"""
        return self.pid is not None


@dataclass(frozen=True, slots=True)
class Action:
    """start a part, check whether it is ready, terminate it (SIGTERM) or kill it (SIGKILL)."""

    verb: Literal["start", "check", "terminate", "kill"]
    part: str


Parts = Mapping[str, Part]
States = Mapping[str, State]


def decide(parts: Parts, states: States, now: float, *, stopping: bool, hurry: bool = False) -> Sequence[Action]:
    """What to do now. stopping: end everything, the last ones started first; hurry: by SIGKILL."""
    if not stopping:
        return [*_starts(parts, states, now), *_checks(states)]
    return list(_stops(parts, states, now, hurry=hurry))


def _starts(parts: Parts, states: States, now: float) -> Iterator[Action]:
    for name, part in parts.items():
        state = states[name]
        if state.running or not state.wanted or now < state.due:
            continue
        if all(_no_longer_awaited(states[other], now) for other in part.after):
            yield Action("start", name)


def _no_longer_awaited(state: State, now: float) -> bool:
    if state.ready or not state.wanted:
        return True
    return state.first_started is not None and now - state.first_started >= PATIENCE_SECONDS


def _checks(states: States) -> Iterator[Action]:
    return (Action("check", name) for name, state in states.items() if state.running and not state.ready)


def _stops(parts: Parts, states: States, now: float, *, hurry: bool) -> Iterator[Action]:
    needed = {other for name, part in parts.items() if states[name].running for other in part.after}
    for name, part in parts.items():
        state = states[name]
        if not state.running or state.killed:
            continue
        if hurry or (state.terminated is not None and now - state.terminated >= part.grace):
            yield Action("kill", name)
        elif state.terminated is None and name not in needed:
            yield Action("terminate", name)


def wait(parts: Parts, states: States, now: float, *, stopping: bool) -> float | None:
    """Seconds until `decide` has something to do though nothing happens; None = never."""
    if stopping:
        times = [
            state.terminated + parts[name].grace
            for name, state in states.items()
            if state.running and state.terminated is not None and not state.killed
        ]
        return max(0.0, min(times) - now) if times else None
    if any(_starts(parts, states, now)):
        return 0.0
    waits = [state.due - now for state in states.values() if not state.running and state.wanted and state.due > now]
    if any(state.running and not state.ready for state in states.values()):
        waits.append(READY_POLL_SECONDS)
    return max(0.0, min(waits)) if waits else None


def started(state: State, pid: int, now: float) -> State:
    """`state` with its new process."""
    first = now if state.first_started is None else state.first_started
    return replace(state, pid=pid, first_started=first, started=now, ready=False, terminated=None, killed=False)


def seen_ready(state: State) -> State:
    """`state` of a part that does its work now."""
    return replace(state, ready=True)


def terminated(state: State, now: float) -> State:
    """`state` of a part that has been sent SIGTERM."""
    return replace(state, terminated=now)


def killed(state: State) -> State:
    """`state` of a part that has been sent SIGKILL."""
    return replace(state, killed=True)


def failed_to_start(state: State, now: float) -> State:
    """`state` after a start that gave no process."""
    first = now if state.first_started is None else state.first_started
    return _backed_off(replace(state, first_started=first), state.failures + 1, now)


def exited(part: Part, state: State, now: float) -> State:
    """`state` without its process: started again at once if it ran stably, later and later if it did not."""
    gone = replace(state, pid=None, ready=False, terminated=None, killed=False)
    if not part.restart:
        return replace(gone, wanted=False)
    failures = 0 if now - state.started >= STABLE_SECONDS else state.failures + 1
    return _backed_off(gone, failures, now)


def _backed_off(state: State, failures: int, now: float) -> State:
    delay = 0.0 if failures == 0 else min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 10))
    return replace(state, failures=failures, due=now + delay)


def asked_for(state: State, now: float) -> State:
    """`state` of a part that someone wants to run."""
    return replace(state, wanted=True, failures=0, due=now)


def late(states: States) -> Sequence[str]:
    """The parts that are wanted and do not do their work yet."""
    return [name for name, state in states.items() if state.wanted and not state.ready]
