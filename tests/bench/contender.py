"""What a server must do to be compared, and which there are."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Literal

from tests.bench.scenario import Scenario
from tests.support.ports import free_port

Semantics = Literal["all", "one", "fixed"]
"""What an answer holds: every available address, one of them, or always the same."""


class Contender:
    """A running server, by itself or with what it needs; made by `start`, ended when `stack` is closed.

    name: in the tables. options: what was configured beyond the defaults, for the page.
    """

    name: ClassVar[str]
    options: ClassVar[str] = ""
    semantics: ClassVar[Semantics] = "all"
    changes: ClassVar[bool] = True
    """Can an address be taken out and put back while it runs?"""
    settle: ClassVar[float] = 1.0
    """Seconds from a change until which the old answer counts as right."""

    def __init__(self, folder: Path, scenario: Scenario, database: Path, stack: ExitStack) -> None:
        """folder: of its own and there; database: the country database; stack: ends what it starts."""
        self.folder, self.scenario, self.database, self.stack = folder, scenario, database, stack
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        raise NotImplementedError

    def processes(self) -> Sequence[int]:
        """The processes that serve; what they have started counts as well."""
        raise NotImplementedError

    def change(self, service: int, address: str, available: bool) -> None:
        """Take an address of a service out of the answers or put it back, by this server's own means."""
        raise NotImplementedError

    def calls(self) -> int | None:
        """How many lookups its backend has answered so far; None where it has none of ours."""
        return None

    def version(self) -> str:
        raise NotImplementedError
