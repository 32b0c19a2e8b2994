"""What is wrong with an input: every violation at once, each with a place and a sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that an input breaks.

    pointer: JSON pointer (RFC 6901) into the document, "" for the whole of it.
    detail: a sentence that names the value and what is allowed.
    """

    pointer: str
    detail: str

    def under(self, prefix: str) -> "Violation":
        """The same violation seen from a document that holds this one at `prefix`."""
        return Violation(prefix + self.pointer, self.detail)


class InvalidConfiguration(ValueError):
    """An input broke one or more rules; nothing of it was applied."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations: Sequence[Violation] = tuple(violations)
        super().__init__("; ".join(f"{v.pointer or '/'}: {v.detail}" for v in self.violations))


def pointer(*parts: str | int) -> str:
    """Join parts into a JSON pointer, escaping as RFC 6901 section 3 says."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def shown(value: object) -> str:
    """`value` for an error message: quoted, and cut when long."""
    text = repr(value)
    length = len(value) if isinstance(value, str) else len(text)
    return text if len(text) <= 80 else f"{text[:60]}... ({length} characters)"
