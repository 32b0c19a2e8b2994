"""What can go wrong with an operation, as every door tells it in its own way. Nothing was changed when one is raised.

The violations of an input are `domain.violation.InvalidConfiguration`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class OperationError(Exception):
    """An operation was refused; the text is a sentence for an operator."""


class NotFound(OperationError):
    """There is no such object."""


class AlreadyExists(OperationError):
    """There is one of that id already."""


class NotPermitted(OperationError):
    """This operator may not do that."""


class NotNow(OperationError):
    """What was asked for contradicts the present state."""


@dataclass(frozen=True, slots=True)
class User:
    """What uses an object that was to be deleted."""

    kind: str
    id: str
    name: str


class InUse(OperationError):
    """The object is used by others, which are named."""

    def __init__(self, what: str, users: Sequence[User]) -> None:
        self.users = tuple(users)
        named = ", ".join(f"{user.kind.removesuffix('s')} {user.name}" for user in self.users[:5])
        more = f" and {len(self.users) - 5} more" if len(self.users) > 5 else ""
        super().__init__(f"{what} is used by {named}{more}: take it out there first")


class Braked(OperationError):
    """The change would leave policies without an available set; `force` lets it through."""

    def __init__(self, detail: str, preview: Sequence[Any]) -> None:
        self.preview = tuple(preview)
        super().__init__(detail)


class TooMuch(OperationError):
    """The change would alter a large part of what there is; `force` lets it through. counts: of each kind."""

    def __init__(self, detail: str, counts: Sequence[Any]) -> None:
        self.counts = tuple(counts)
        super().__init__(detail)


class QuotaReached(OperationError):
    """The server is set to hold no more. quota: the setting. limit: what it allows. wanted: what was asked for."""

    def __init__(self, detail: str, quota: str, limit: float, wanted: float) -> None:
        self.quota, self.limit, self.wanted = quota, limit, wanted
        super().__init__(detail)


class PreconditionRequired(OperationError):
    """The object exists and the request does not say which version of it is meant."""


class PreconditionFailed(OperationError):
    """The object is another version by now. current: its version, "" where there is none."""

    def __init__(self, detail: str, current: str) -> None:
        self.current = current
        super().__init__(detail)


class Unavailable(OperationError):
    """The store cannot be read or written now. retry_after: seconds after which it may work."""

    def __init__(self, detail: str, retry_after: int = 2) -> None:
        self.retry_after = retry_after
        super().__init__(detail)


class Busy(OperationError):
    """As many of these are under way as may be at once. retry_after: seconds after which another may be let in."""

    def __init__(self, detail: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(detail)


class ForeignStore(Unavailable):
    """Redis holds another store than this server's snapshot is of, or none."""


class InvalidParameters(OperationError):
    """Parameters of a request are wrong: each with a sentence."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{name}: {detail}" for name, detail in self.errors))
