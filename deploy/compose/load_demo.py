"""Puts the demo of `make run` into the system of docker-compose.yml, with the addresses of the demo's containers.

What is there already stays as it is.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import requests

from pdns_gtm_backend.standalone import demo

API: Final = "http://admin:8080/api/v1"
PORT: Final = 8080
HOSTS: Final[Mapping[str, int]] = {"a1": 11, "a2": 12, "b1": 21, "b2": 22, "c1": 31}
"""Origin -> last number of its address in the probe network."""
TIMEOUT_SECONDS: Final = 5.0


def documents(network: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Collection and document, in an order in which each names what is there. network: the first three numbers."""
    for check in demo.health_checks(PORT):
        yield "health-checks", check
    for pool in demo.pools():
        yield "pools", {**pool, "addresses": [_moved(address, network) for address in pool["addresses"]]}
    for instance in demo.instances():
        yield "instances", instance


def _moved(address: Mapping[str, Any], network: str) -> Mapping[str, Any]:
    return {**address, "address": f"{network}.{HOSTS[address['labels']['origin']]}"}


def main(token_file: Path, network: str) -> None:
    """Create each document that is not there. Raises OSError, also where the API cannot be reached."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {token_file.read_text().strip()}"
        for collection, document in documents(network):
            response = session.post(f"{API}/{collection}", json=document, timeout=TIMEOUT_SECONDS)
            if response.status_code != HTTPStatus.CONFLICT:
                response.raise_for_status()
            name = document.get("id") or document["name"]
            sys.stdout.write(f"{collection} {name}: {response.json().get('cname', response.reason)}\n")


if __name__ == "__main__":
    deadline = time.monotonic() + 60
    while True:
        try:
            main(Path(os.environ["GTM_VAR"], "admin-token"), os.environ["GTM_PROBE_NETWORK"])
            break
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"the demo is not loaded: {error}")
            time.sleep(1)
