"""`python -m healthd`: run one healthd until it is told to stop."""

import logging
import sys
from typing import Any

import click
from pydantic import ValidationError

from healthd.daemon import Daemon
from healthd.references import parse_reference
from pdns_gtm_backend.domain.document import MAX_LABELS
from pdns_gtm_backend.domain.health_check import selector_error
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.settings import Settings


def _labels(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE")
        if error := selector_error(text):
            raise click.BadParameter(f"{text!r} {error}")
        if labels.setdefault(key, value) != value:
            raise click.BadParameter(f"{key!r} is given twice, with {labels[key]!r} and {value!r}")
    if len(labels) > MAX_LABELS:
        raise click.BadParameter(f"{len(labels)} labels are given, a vantage has at most {MAX_LABELS}")
    return labels


def _references(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> list[Target]:
    try:
        return list({(target := parse_reference(text)).key: target for text in given}.values())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--vantage", help="Name of this vantage (GTM_VANTAGE).")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_labels,
    help="Label of this vantage, which checks may select it by; may be repeated.",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="HOST:PORT",
    callback=_references,
    help="A host outside of what is probed. While none of these and nothing else answers, this vantage distrusts its "
    "own network and takes nothing down; may be repeated.",
)
def main(vantage: str | None, labels: dict[str, str], references: list[Target]) -> None:
    """Probe addresses, keep their state in Redis, and carry out pool switchover."""
    given: dict[str, Any] = {"vantage": vantage} if vantage else {}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise click.UsageError(f"settings from the environment: {error}") from None
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        daemon = Daemon(settings, labels, references)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    daemon.run()


if __name__ == "__main__":
    main()
