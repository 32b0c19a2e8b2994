"""`python -m healthd`: run one healthd until it is told to stop."""

import logging
import sys
from typing import Any

import click
from pydantic import ValidationError

from healthd.daemon import Daemon
from pdns_gtm_backend.settings import Settings


@click.command()
@click.option("--vantage", help="Name of this vantage (GTM_VANTAGE).")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label of this vantage; may be repeated.")
def main(vantage: str | None, labels: tuple[str, ...]) -> None:
    """Probe addresses, keep their state in Redis, and carry out pool switchover."""
    pairs = [label.partition("=") for label in labels]
    if bad := [label for label, (key, equals, _) in zip(labels, pairs, strict=True) if not (key and equals)]:
        raise click.BadParameter(f"{bad[0]!r} is not of the form KEY=VALUE", param_hint="--label")
    given: dict[str, Any] = {"vantage": vantage} if vantage else {}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise click.UsageError(f"settings from the environment: {error}") from None
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    Daemon(settings, {key: value for key, _, value in pairs}).run()


if __name__ == "__main__":
    main()
