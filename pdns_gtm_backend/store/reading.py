"""Documents that the store holds beside the snapshot, whose senders are never trusted."""

from __future__ import annotations

import logging
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pdns_gtm_backend.store.kinds import BrokenDocument

log = logging.getLogger(__name__)
T = TypeVar("T")


def parsed(adapter: TypeAdapter[T], text: str) -> T:
    """The value of a document. Raises BrokenDocument with the first reason."""
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise BrokenDocument(error.errors(include_url=False)[0]["msg"]) from None
    except (UnicodeError, RecursionError) as error:
        raise BrokenDocument(str(error)) from None


def parsed_or_none(adapter: TypeAdapter[T], text: str, what: str) -> T | None:
    """The value of a document; None where it is broken, which the log then says of `what`."""
    try:
        return parsed(adapter, text)
    except BrokenDocument as error:
        log.error("%s in the store is broken: %s", what, error)
        return None
