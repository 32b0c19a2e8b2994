"""`python -m pdns_gtm_backend.store.adopt`: decide which store is right where Redis holds none, or another one."""

import sys

import click
from pydantic import ValidationError
from redis.exceptions import RedisError

from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.adoption import Adopted, NotAdopted, accept, newest_on_disk, restore
from pdns_gtm_backend.store.connection import connect
from pdns_gtm_backend.store.repository import NewerSchema, Repository, unavailable_reason

TIMEOUT_SECONDS = 30.0


@click.command()
@click.option(
    "--accept", "accepted", metavar="STORE", help="Follow this store, which Redis holds; give up the snapshot."
)
@click.option(
    "--replace", "replaced", metavar="STORE", help="Give up this store, which Redis holds; restore the snapshot."
)
def main(accepted: str | None, replaced: str | None) -> None:
    """Put the newest snapshot in GTM_VAR back into a Redis that was emptied, or decide between it and another store."""
    if accepted and replaced:
        raise click.UsageError("--accept and --replace exclude each other")
    try:
        done = _adopt(Settings(), accepted, replaced or "")
    except ValidationError as error:
        raise click.UsageError(f"settings from the environment: {error}") from None
    except (NotAdopted, NewerSchema, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except RedisError as error:
        raise click.ClickException(f"Redis: {unavailable_reason(error)}") from None
    click.echo(f"store {done.store_id} is followed from revision {done.revision}")


def _adopt(settings: Settings, accepted: str | None, replaced: str) -> Adopted:
    snapshot = newest_on_disk(settings.var / "snapshot")
    held = snapshot.position.store_id
    with connect(settings.store_url, timeout=TIMEOUT_SECONDS) as client:
        found = Repository(client).position().store_id
        if found == held:
            raise NotAdopted(f"Redis holds store {found}, which is the one of the snapshot: there is nothing to adopt")
        if accepted:
            return accept(client, held, accepted)
        if found and not replaced:
            raise NotAdopted(
                f"Redis holds store {found}, the snapshot (revision {snapshot.revision}) is of store {held}: "
                f"--accept {found} follows Redis, --replace {found} restores the snapshot"
            )
        return restore(client, snapshot, replaced)


if __name__ == "__main__":
    sys.exit(main())
