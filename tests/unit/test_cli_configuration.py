"""Configuration in files: what is merged, what is refused, and where it says a fault is."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.cli.configuration import SECTIONS, read_configuration
from pdns_gtm_backend.cli.failures import INVALID, USAGE, Failure
from pdns_gtm_backend.cli.sources import read_document
from pdns_gtm_backend.cli.yaml_text import dump
from pdns_gtm_backend.operations.configuration_file import SECTIONS as SECTIONS_OF_THE_API

POOL = "pools:\n- id: {name}\n  type: ipv4\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that files have short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(*paths: str) -> list[tuple[str, str]]:
    """Every fault of files that are refused, with its place."""
    with pytest.raises(Failure) as caught:
        read_configuration(paths)
    assert caught.value.exit_code == INVALID
    return [(fault.place, fault.detail) for fault in caught.value.faults]


def test_the_sections_are_those_of_the_api() -> None:
    assert {name: section.kind for name, section in SECTIONS.items()} == dict(SECTIONS_OF_THE_API)
    assert list(SECTIONS) == list(SECTIONS_OF_THE_API)


def test_files_folders_documents_and_stdin_are_one_configuration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "conf" / "deep").mkdir(parents=True)
    (folder / "conf" / "b.yaml").write_text("version: 1\n" + POOL.format(name="b") + "---\n" + POOL.format(name="c"))
    (folder / "conf" / "deep" / "d.json").write_text(json.dumps({"pools": [{"id": "d"}], "lines": []}))
    (folder / "conf" / "a.yml").write_text("# nothing yet\n")
    (folder / "conf" / ".hidden.yaml").write_text("nonsense: [")
    (folder / "conf" / "notes.txt").write_text("nonsense: [")
    (folder / "one.yaml").write_bytes(b"\xef\xbb\xbf" + POOL.format(name="a").encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"instances:\n- name: shop\n")))
    read = read_configuration(["one.yaml", "conf", "-"])
    assert [pool["id"] for pool in read.document["pools"]] == ["a", "b", "c", "d"]
    assert read.document["instances"] == [{"name": "shop"}]
    assert read.document["lines"] == []
    assert "zones" not in read.document
    assert read.document["version"] == 1
    assert read.place("/pools/0/type") == "one.yaml:3: /pools/0/type (pool a)"
    assert read.place("/pools/2/type") == "conf/b.yaml:8: /pools/2/type (pool c)"
    assert read.place("/pools/3/weight") == "conf/deep/d.json:1: /pools/3/weight (pool d)"
    assert read.place("/instances/0/policies") == "stdin:2: /instances/0/policies (instance shop)"
    assert read.place("/lines") == "/lines"
    assert read.place("") == ""


def test_every_fault_is_told_with_file_line_and_path(folder: Path) -> None:
    (folder / "a.yaml").write_text("version: 2\npool: []\npools:\n- id: x\n- 5\n- id: x\ninstances:\n")
    (folder / "b.yaml").write_text("zones:\n- name: Shop.example.\npools: [{id: x}]\n---\n- 1\n")
    (folder / "c.yaml").write_text("version: 1\nzones: [{name: shop.example}, {}, {name: 7}]\n")
    assert faults("a.yaml", "b.yaml", "c.yaml") == [
        ("a.yaml:1: /version", "2 is not allowed: must be 1"),
        (
            "a.yaml:2: /pool",
            "unknown member 'pool', did you mean 'pools'? "
            "Allowed are version, health_checks, lines, zones, pools, instances, alerts",
        ),
        ("a.yaml:5: /pools/1", "must be a pool: an object with 'id' and more"),
        ("a.yaml:7: /instances", "must be a list: [] is one without any object"),
        ("b.yaml:5", "must be an object with version, health_checks, lines, zones, pools, instances, alerts"),
        ("c.yaml:2: /zones/0", "zone 'shop.example' is already at b.yaml:2"),
        ("a.yaml:6: /pools/2", "pool 'x' is already at a.yaml:4"),
        ("b.yaml:3: /pools/0", "pool 'x' is already at a.yaml:4"),
    ]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"pools:\n- id: a\n  id: b\n", ("f.yaml:3:3", "the key 'id' is given twice, first in line 2")),
        (b'{"pools": [],\n "pools": []}', ("f.yaml:2:2", "the key 'pools' is given twice, first in line 1")),
        (b'{"pools": [NaN]}', ("f.yaml:1: /pools/0", "must be a pool: an object with 'id' and more")),
        (b"pools: [\n", ("f.yaml:2:1", "while parsing a flow node did not find expected node content")),
        (b"a: 1\n\xff\n", None),
    ],
)
def test_a_text_that_cannot_be_read_is_told_with_its_line(
    folder: Path, data: bytes, fault: tuple[str, str] | None
) -> None:
    (folder / "f.yaml").write_bytes(data)
    if fault is None:
        with pytest.raises(Failure, match=r"f\.yaml:2 is not UTF-8"):
            read_configuration(["f.yaml"])
    else:
        assert faults("f.yaml") == [fault]


def test_what_is_not_there_is_wrong_usage(folder: Path) -> None:
    (folder / "empty").mkdir()
    for paths, said in (
        (["gone.yaml"], "gone.yaml cannot be read: No such file or directory"),
        (["empty"], "folder empty holds no file *.yaml, *.yml or *.json"),
        (["-", "-"], "'-' (stdin) can be read once only"),
    ):
        with pytest.raises(Failure) as caught:
            read_configuration(paths)
        assert (caught.value.exit_code, caught.value.said) == (USAGE, said)


def test_a_fault_of_one_object_is_told_with_its_line(folder: Path) -> None:
    (folder / "pool.yaml").write_text("---\n---\nid: a\ntype: ipv4\naddresses:\n- address: 192.0.2.1\n  weight: 9999\n")
    document = read_document("pool.yaml", "pool")
    assert document.value["id"] == "a"
    assert document.place("/addresses/0/weight") == "pool.yaml:7: /addresses/0/weight"
    assert document.place("/addresses/0/mode") == "pool.yaml:6: /addresses/0/mode"
    assert document.place("") == "pool.yaml:3"


@pytest.mark.parametrize("text", ["", "- a\n", "a: 1\n---\nb: 2\n", "5\n"])
def test_a_file_of_one_object_holds_one(folder: Path, text: str) -> None:
    (folder / "f.yaml").write_text(text)
    with pytest.raises(Failure, match="must hold one pool") as caught:
        read_document("f.yaml", "pool")
    assert caught.value.exit_code == INVALID


def test_a_file_that_others_write_to_is_read_as_it_is(folder: Path) -> None:
    """A pipe has no size and cannot be read twice: places are told from what was read."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"pools:\n- id: a\n")
    os.close(write_end)
    with os.fdopen(read_end):
        read = read_configuration([f"/dev/fd/{read_end}"])
        assert read.place("/pools/0").endswith(":2: /pools/0 (pool a)")


def test_a_large_configuration_is_read_in_time(folder: Path) -> None:
    pools: list[Any] = [
        {"id": f"p{n}", "type": "ipv4", "addresses": [{"address": "192.0.2.1"}] * 5} for n in range(2000)
    ]
    (folder / "big.yaml").write_text(dump({"pools": pools}))
    read = read_configuration(["big.yaml"])
    assert read.document["pools"] == pools
    wanted = [f"/pools/{n}/addresses/4/address" for n in range(0, 2000, 40)]
    # One line for each member: id, type, addresses and five addresses, below the line of the section.
    lines = [place.split(":")[1] for place in read.places(wanted).values()]
    assert lines == [str(2 + 8 * n + 7) for n in range(0, 2000, 40)]
