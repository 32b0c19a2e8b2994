"""What is typed on a command line and what is printed: spans, policies, fields as options, tables."""

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.cli.durations import end, parse_span
from pdns_gtm_backend.cli.fields import field_help, field_options, option_of
from pdns_gtm_backend.cli.fields import given as given_fields
from pdns_gtm_backend.cli.main import cli
from pdns_gtm_backend.cli.policies import parse_lines, parse_policy, parse_sets, sets_text
from pdns_gtm_backend.cli.printing import Column, as_json, brief, cell, printable, table, width
from pdns_gtm_backend.cli.zones import full_name
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.pool import Address, Pool
from tests.support.strategies import IDENTIFIERS, bounded

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@bounded
@given(st.lists(st.tuples(st.integers(1, 99), st.sampled_from(sorted(UNITS))), min_size=1, max_size=3))
def test_a_span_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_span(text) == timedelta(seconds=sum(number * UNITS[unit] for number, unit in parts))


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "2h!", "0s", "1.5h", "999999999w", "2H", "٢h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"span of time|not allowed"):
        parse_span(text)


def test_the_end_of_a_span_is_in_utc() -> None:
    now = datetime(2030, 1, 31, 23, 30, tzinfo=UTC)
    assert end(timedelta(hours=1), None, now) == "2030-02-01T00:30:00.000Z"
    assert end(None, "2030-01-31T12:00:00+08:00", now) == "2030-01-31T12:00:00+08:00"
    assert end(None, None, now) is None
    with pytest.raises(click.UsageError, match="not both"):
        end(timedelta(hours=1), "2030-01-31T12:00:00Z", now)


MEMBERS = st.lists(
    st.builds(
        lambda pool, weight: {"pool": pool} if weight == 1 else {"pool": pool, "weight": weight},
        IDENTIFIERS,
        st.integers(0, 1000),
    ),
    min_size=1,
    max_size=3,
)
POOL_SETS = st.lists(
    st.builds(
        lambda name, pools: {"pools": pools} if name is None else {"name": name, "pools": pools},
        st.none() | IDENTIFIERS,
        MEMBERS,
    ),
    min_size=1,
    max_size=3,
)


@bounded
@given(POOL_SETS)
def test_pool_sets_are_read_as_they_are_written(pool_sets: list[Any]) -> None:
    assert parse_sets(sets_text(pool_sets)) == pool_sets


def test_a_policy_in_three_words() -> None:
    assert parse_policy("mainland", "AS-CN&asn:4134, cidr:2001:db8::/32", "main:a=3,b/c") == {
        "name": "mainland",
        "lines": ["AS-CN&asn:4134", "cidr:2001:db8::/32"],
        "pool_sets": [
            {"name": "main", "pools": [{"pool": "a", "weight": 3}, {"pool": "b"}]},
            {"pools": [{"pool": "c"}]},
        ],
    }


@pytest.mark.parametrize("text", ["", "a/", "a,,b", "a=", "a=x", "a=-1", "set:", "/a", "a=1.5"])
def test_sets_that_are_written_wrongly_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"pool is missing|must be a whole number"):
        parse_sets(text)


def test_lines_that_are_written_wrongly_are_refused() -> None:
    with pytest.raises(ValueError, match="a line is missing"):
        parse_lines("AS-CN,,default")


@pytest.mark.parametrize(
    ("zone", "name", "whole"),
    [
        ("shop.example", "@", "shop.example"),
        ("Shop.example.", "www", "www.shop.example"),
        ("shop.example", "www.shop.example", "www.shop.example"),
        ("shop.example", "WWW.Shop.Example.", "www.shop.example"),
        ("shop.example", "*.dev", "*.dev.shop.example"),
        ("shop.example", "other.example.", "other.example"),
        ("shop.example", "workshop.example", "workshop.example.shop.example"),
    ],
)
def test_names_of_records_are_relative_to_their_zone(zone: str, name: str, whole: str) -> None:
    assert full_name(zone, name) == whole


def parsed(document: type, *arguments: str) -> Any:
    """The document that options make."""
    found: list[Any] = []

    @click.command()
    @field_options(document, names={"names": "extra-name"})
    def command(**parameters: Any) -> None:
        found.append(given_fields(parameters))

    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return found[0]


@pytest.mark.parametrize(
    ("document", "arguments", "expected"),
    [
        (Pool, (), {}),
        (Pool, ("--min-available", "2"), {"min_available": 2}),
        (Pool, ("--min-available", "50%"), {"min_available": "50%"}),
        (Pool, ("--max-answers", "none", "--host", "none"), {"max_answers": None, "host": None}),
        (Pool, ("--max-answers", "3", "--enabled"), {"max_answers": 3, "enabled": True}),
        (Pool, ("--no-enabled", "--require", "any"), {"enabled": False, "require": "any"}),
        (Pool, ("--health-check", "a", "--health-check", "b"), {"health_checks": ["a", "b"]}),
        (Pool, ("--health-check", "none"), {"health_checks": []}),
        (HealthCheck, ("--interval", "2.5"), {"interval": 2.5}),
        (HealthCheck, ("--http-path", "/x", "--no-http-tls-verify"), {"http": {"path": "/x", "tls_verify": False}}),
        (HealthCheck, ("--http-header", "A=b=c", "--http-header", "D="), {"http": {"headers": {"A": "b=c", "D": ""}}}),
        (
            HealthCheck,
            ("--ping-count", "5", "--vantage", "country=CN"),
            {"ping": {"count": 5}, "vantages": ["country=CN"]},
        ),
        (Address, ("--label", "site=hz", "--label", "rack-"), {"labels": {"site": "hz", "rack": None}}),
        (
            Instance,
            ("--service-domain", "www.a.example", "--ttl", "5"),
            {"service_domains": ["www.a.example"], "ttl": 5},
        ),
    ],
)
def test_options_make_documents(document: type, arguments: tuple[str, ...], expected: Any) -> None:
    assert parsed(document, *arguments) == expected


@pytest.mark.parametrize("document", [Pool, HealthCheck, Instance, Line, AccessPolicy, Address])
def test_every_field_has_an_option_or_is_made_of_objects(document: type) -> None:
    @click.command()
    @field_options(document)
    def command(**parameters: Any) -> None: ...

    named = {(parameter.name or "").split("__")[1] for parameter in command.params}
    assert {field.name for field in fields(document)} - named <= {"addresses", "policies", "pool_sets"}


def test_a_fault_is_told_by_its_option() -> None:
    create = cli.commands["check"].commands["create"]  # type: ignore[attr-defined]
    assert option_of(create, "/http/expect_status") == "--http-expect-status"
    assert option_of(create, "/vantages/2") == "--vantage (/vantages/2)"
    assert option_of(create, "/nonsense") == "/nonsense"
    assert option_of(None, "/port") == "/port"


def test_help_is_what_the_documents_say() -> None:
    told = field_help(HealthCheck)
    assert told["port"].startswith("80 for http")
    assert told["interval"] == told["timeout"]
    assert "`" not in "".join(told.values())


def all_commands(group: click.Group, path: str = "gtmctl") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        below = f"{path} {name}"
        found += all_commands(command, below) if isinstance(command, click.Group) else [(below, command)]
    return found


@pytest.mark.parametrize(("path", "command"), all_commands(cli))
def test_every_command_tells_what_it_does(path: str, command: click.Command) -> None:
    done = CliRunner().invoke(cli, [*path.split()[1:], "--help"])
    assert done.exit_code == 0, done.output
    first = (command.help or "").split("\n\n")[0].strip()
    assert first[0].isupper()
    assert first[-1] in ".)"
    flags = [flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
    assert len(flags) == len(set(flags))


def test_every_noun_has_a_plural() -> None:
    for plural, singular in (
        ("pools", "pool"),
        ("health-checks", "check"),
        ("addresses", "address"),
        ("rrsets", "record"),
    ):
        plain, other = (CliRunner().invoke(cli, [word, "--help"]).output for word in (singular, plural))
        assert plain.splitlines()[2:] == other.splitlines()[2:]


COLUMNS = (Column("NAME", lambda item: item["name"]), Column("VALUE", lambda item: item["value"]))


def test_columns_stand_below_their_titles() -> None:
    items = [
        {"name": "a", "value": 1},
        {"name": "商店", "value": None},
        {"name": "long-one", "value": [1, {"k": True}]},
    ]
    assert table(COLUMNS, items).splitlines() == [
        "NAME      VALUE",
        "a         1",
        "商店      -",
        "long-one  1,k=yes",
    ]
    assert table(COLUMNS, []) == ""


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("商店", 4), ("e\u0301", 1), ("ü", 1), ("ｱ", 1), ("", 0)])
def test_wide_characters_take_two_columns(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), ("", "-"), (True, "yes"), (2.0, "2"), (2.5, "2.5"), ({"a": "b"}, "a=b"), (0, "0")]
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


@bounded
@given(st.text())
def test_nothing_that_is_printed_steers_a_terminal(text: str) -> None:
    def steers(character: str) -> bool:
        return character != "\n" and (ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0)

    for printed in (printable(text), brief(text), as_json([text]), table(COLUMNS, [{"name": text, "value": text}])):
        assert not any(map(steers, printed))
    assert len(table(COLUMNS, [{"name": text, "value": 1}]).split("\n")) == 2
    assert json.loads(as_json([text])) == [text]


def test_colours_are_those_of_words() -> None:
    painted = table(COLUMNS, [{"name": "down", "value": "x"}], colour=True)
    assert painted.splitlines()[1] == "\x1b[31mdown\x1b[0m  x"
