"""Which version of an object a change is meant for: If-Match and If-None-Match (RFC 9110 section 13.1)."""

from dataclasses import dataclass
from typing import Final, Literal

from pdns_gtm_backend.operations.errors import PreconditionFailed, PreconditionRequired

Versions = frozenset[str] | Literal["*"] | None


@dataclass(frozen=True, slots=True)
class Precondition:
    """match: the object must have one of these versions, `*` = it must exist; none_match: it must not.

    required: is it an error to say neither of an object that exists?
    """

    match: Versions = None
    none_match: Versions = None
    required: bool = True

    def check(self, what: str, version: str) -> None:
        """Does this hold for an object of `version`, "" where there is none?

        Raises PreconditionFailed or PreconditionRequired.
        """
        if self.none_match is not None and version and (self.none_match == "*" or version in self.none_match):
            raise PreconditionFailed(f"{what} exists already, as version {version}", version)
        if self.match is None:
            if self.required and version and self.none_match is None:
                detail = f'{what} exists: say which version you mean to change (If-Match: "{version}"), or any ("*")'
                raise PreconditionRequired(detail)
            return
        if not version:
            raise PreconditionFailed(f"{what} does not exist", "")
        if self.match != "*" and version not in self.match:
            named = ", ".join(sorted(self.match)) or "none that can match"
            raise PreconditionFailed(f"{what} is version {version} by now, not {named}: read it again", version)


UNCONDITIONAL: Final = Precondition(required=False)
