"""Exit codes, and the failures that end a command with one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

import click

from pdns_gtm_backend.cli.printing import printable

FAILURE: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
INVALID: Final = 5
PENDING: Final = 6
UNAVAILABLE: Final = 69
"""`EX_UNAVAILABLE` of sysexits.h."""

CODES: Final = {
    0: "done",
    FAILURE: "failed, or refused (also: the token is missing, not valid, or not allowed to do this)",
    USAGE: "the command line, the profile file or a setting is wrong",
    NOT_FOUND: "there is no such object",
    CONFLICT: "it contradicts what is there: in use, exists already, changed by somebody else, held by the brake",
    INVALID: "the input breaks rules; each is listed",
    PENDING: "`plan`: changes are pending",
    UNAVAILABLE: "the server, or its store, cannot be reached now",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input. place: where, as an operator finds it; "" = the whole."""

    place: str
    detail: str


class Failure(click.ClickException):
    """Ends a command. said: what is told first. faults: each thing that is wrong. hint: what to do about it."""

    def __init__(self, message: str, exit_code: int = FAILURE, faults: Sequence[Fault] = (), hint: str = "") -> None:
        super().__init__(message)
        self.said = message
        self.exit_code = exit_code  # type: ignore[misc]
        self.faults = tuple(faults)
        self.hint = hint

    def lines(self) -> Sequence[str]:
        """What is told, line by line."""
        listed = (f"  {fault.place}: {fault.detail}" if fault.place else f"  {fault.detail}" for fault in self.faults)
        return [f"gtmctl: {self.said}", *listed, *([f"  {self.hint}"] if self.hint else [])]

    def show(self, file: IO[Any] | None = None) -> None:
        """Tell it on stderr."""
        for line in self.lines():
            click.echo(printable(line), file=file, err=file is None)
