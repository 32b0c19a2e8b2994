"""`python -m pdns_gtm_backend.standalone`: run the whole system in the foreground until Ctrl-C or SIGTERM."""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone import control, demo, environment, load_demo, parts, ports, process
from pdns_gtm_backend.standalone.guide import guide, shown
from pdns_gtm_backend.standalone.layout import Layout, Unusable
from pdns_gtm_backend.standalone.output import Console
from pdns_gtm_backend.standalone.supervisor import SELF, Supervisor

USAGE: Final = """\
python -m pdns_gtm_backend.standalone               run the whole system until Ctrl-C or SIGTERM
python -m pdns_gtm_backend.standalone origin NAME   ask the running system to start an origin of its demo again
Settings come from the environment (GTM_...): see README.md."""
CANNOT_START: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    match list(sys.argv[1:] if arguments is None else arguments):
        case []:
            return _reported(run)
        case ["origin", name]:
            return _reported(lambda: start_origin(name))
        case ["load-demo", var, api]:
            return load_demo.main(Layout(Path(var)), api)
        case ["--help" | "-h"]:
            print(USAGE)
            return 0
    print(USAGE, file=sys.stderr)
    return WRONG_USAGE


def _reported(command: Callable[[], int]) -> int:
    try:
        return command()
    except Unusable as error:
        for line in str(error).splitlines():
            print(f"pdns-gtm: {line}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        return INTERRUPTED


def run() -> int:
    """Run the whole system until a signal says stop. Raises Unusable where it cannot be started as asked."""
    settings = environment.load(os.environ)
    layout = Layout(settings.var.absolute())
    layout.prepare()
    with _locked(layout):
        decided = {
            "backend_secret": settings.backend_secret or layout.backend_secret(),
            "key_secret": settings.key_secret or layout.key_secret(),
            "pdns_control": settings.pdns_control or layout.pdns_control,
        }
        settings = settings.model_copy(update=decided)
        swept = process.sweep(layout.var)
        marker = _demo(settings, layout)
        children = parts.child_environment(settings, layout, os.environ)
        built = parts.build(settings, layout, marker, os.environ.get("PATH", ""))
        ports.require_free(settings)
        console = Console(sys.stdout.fileno(), width=max(map(len, (*built, SELF))))

        def settled(late: Sequence[str]) -> None:
            if late:
                supervisor.say(f"not ready yet: {', '.join(late)}; see {shown(layout.logs, Path.cwd())}")
            console.write(guide(settings, layout, demo.read_marker(layout) if marker else None, Path.cwd()))

        supervisor = Supervisor(built, layout, console, children, settled)
        for pid, command in swept.items():
            supervisor.say(f"ended what an earlier run left behind: {command} (pid {pid})")
        for sentence in (*environment.unknown(os.environ), *environment.without_ping()):
            supervisor.say(sentence)
        supervisor.run()
    return 0


def start_origin(name: str) -> int:
    """Ask the running system to start an origin of its demo. Raises Unusable where none runs."""
    layout = Layout(environment.load(os.environ).var.absolute())
    if name not in demo.ORIGINS:
        raise Unusable(f"{name!r} is no origin of the demo: make origin ORIGIN={'|'.join(demo.ORIGINS)}")
    try:
        print(control.ask(layout.control_socket, demo.part_name(name)))
    except OSError as error:
        raise Unusable(f"no `make run` answers in GTM_VAR={layout.var} ({error.strerror or error})") from None
    return 0


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """Hold `$GTM_VAR` for this process alone; the kernel lets go of it when this process ends."""
    with (layout.run / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            raise Unusable(
                f"GTM_VAR={layout.var} is in use by another `make run` (pid {holder}): "
                "stop that one, or set GTM_VAR to another folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _demo(settings: Settings, layout: Layout) -> demo.Marker | None:
    marker = demo.read_marker(layout)
    first_start = not any(layout.redis.iterdir())
    if not demo.wanted(settings, first_start=first_start, marker=marker):
        return None
    return demo.prepare(layout, marker)


if __name__ == "__main__":
    sys.exit(main())
