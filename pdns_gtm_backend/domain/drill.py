"""Drills: what is treated as failed for a while, to see that traffic goes where it shall."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

from annotated_types import MaxLen, MinLen

from pdns_gtm_backend.domain.document import DisplayName, document
from pdns_gtm_backend.domain.override import Override, Selector, override_violations
from pdns_gtm_backend.domain.violation import Violation, pointer

DrillState = Literal["unexecuted", "executed", "rolled_back"]


@document
class Drill:
    """A drill. While it is executed, everything that a selector selects is overridden as `failed`.

    state, owner, created, executed, rolled_back: kept by the server; the moments are those of the last time.
    """

    id: Annotated[str, MaxLen(63)] = ""
    name: DisplayName
    selectors: Annotated[tuple[Selector, ...], MinLen(1), MaxLen(100)]
    reason: Annotated[str, MaxLen(1000)] = ""
    state: DrillState = "unexecuted"
    owner: Annotated[str, MaxLen(128)] = ""
    created: datetime | None = None
    executed: datetime | None = None
    rolled_back: datetime | None = None

    def overrides(self, owner: str, created: datetime) -> tuple[Override, ...]:
        """What it sets while it is executed. Their ids follow from the drill's, so that none is there twice."""
        reason = f"drill {self.name}" + (f": {self.reason}" if self.reason else "")
        return tuple(
            Override(
                id=f"{self.id}.{number}",
                selector=selector,
                effect="failed",
                reason=reason[:1000],
                owner=owner,
                created=created,
                drill=self.id,
            )
            for number, selector in enumerate(self.selectors, 1)
        )


def drill_violations(drill: Drill) -> Iterator[Violation]:
    """Every rule of its own that a drill breaks."""
    for index, selector in enumerate(drill.selectors):
        place = pointer("selectors", index)
        for violation in override_violations(Override(selector=selector, effect="failed")):
            yield Violation(place + violation.pointer.removeprefix("/selector"), violation.detail)
        if selector in drill.selectors[:index]:
            yield Violation(place, f"selects what /selectors/{drill.selectors.index(selector)} does")
