"""What every configuration document is: a frozen value whose fields carry their own limits.

The classes are plain dataclasses; the limits (`annotated_types`) and the refusal of unknown fields are read at the
edges by pydantic, so that the API, the store, OpenAPI and the rules share one definition.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeVar, dataclass_transform

from annotated_types import Ge, Le, MaxLen, MinLen

T = TypeVar("T")

MAX_WEIGHT: Final = 1000
MAX_TTL: Final = 604_800
MAX_LABELS: Final = 32

Identifier = Annotated[str, MinLen(1), MaxLen(63)]
"""The id of a pool, check, line or set; `names.identifier_error` says which characters it may hold."""
DisplayName = Annotated[str, MinLen(1), MaxLen(128)]
DomainNameText = Annotated[str, MinLen(1), MaxLen(254)]
Weight = Annotated[int, Ge(0), Le(MAX_WEIGHT)]
Ttl = Annotated[int, Ge(1), Le(MAX_TTL)]
Port = Annotated[int, Ge(1), Le(65535)]
Labels = Annotated[Mapping[Annotated[str, MinLen(1), MaxLen(63)], Annotated[str, MaxLen(255)]], MaxLen(MAX_LABELS)]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def document(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, slotted, keyword-only dataclass whose pydantic schema refuses unknown fields.

    It refuses NaN and infinities too, which JSON cannot hold (RFC 8259 section 6).
    """
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True, "allow_inf_nan": False}  # type: ignore[attr-defined]
    make: Callable[[type[T]], type[T]] = dataclass(frozen=True, slots=True, kw_only=True)
    return make(cls)
