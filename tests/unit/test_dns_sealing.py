import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.operations.errors import NotPermitted
from pdns_gtm_backend.operations.sealing import SECRET_CHARACTERS, Sealer, read_secret
from tests.support.strategies import bounded

OLD, NEW = "an-old-secret-0123456789", "a-new-secret-0123456789"


@bounded
@given(st.text(max_size=200), st.text(st.characters(exclude_characters="\n"), max_size=40))
def test_what_is_sealed_comes_back_for_the_same_purpose_only(secret: str, purpose: str) -> None:
    if any(0xD800 <= ord(character) < 0xE000 for character in secret + purpose):
        return
    sealer = Sealer(NEW)
    sealed = sealer.seal(purpose, secret)
    assert sealer.open(purpose, sealed) == secret
    with pytest.raises(NotPermitted, match="is not what was encrypted"):
        sealer.open(purpose + "x", sealed)


def test_the_same_secret_is_never_sealed_the_same_way() -> None:
    sealer = Sealer(NEW)
    assert sealer.seal("key", "secret") != sealer.seal("key", "secret")


def test_a_new_secret_is_put_before_the_old_one() -> None:
    sealed = Sealer(OLD).seal("key", "secret")
    both = Sealer(f"{NEW}, {OLD}")
    assert both.open("key", sealed) == "secret"
    again = both.seal("key", "secret")
    assert Sealer(NEW).open("key", again) == "secret"
    with pytest.raises(NotPermitted, match="another secret"):
        Sealer(OLD).open("key", again)


@pytest.mark.parametrize("altered", ["", "x", "gAAAA", "\u00e9"])
def test_what_is_no_sealed_secret_is_refused(altered: str) -> None:
    with pytest.raises(NotPermitted, match="another secret"):
        Sealer(NEW).open("key", altered)


def test_without_a_secret_nothing_is_kept() -> None:
    for call in (lambda: Sealer("").seal("key", "x"), lambda: Sealer(" ,").open("key", "x")):
        with pytest.raises(NotPermitted, match="GTM_KEY_SECRET"):
            call()


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 20"):
        Sealer("x" * (SECRET_CHARACTERS - 1))


def test_the_secret_of_settings_comes_before_that_of_the_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert read_secret("", tmp_path) == ""
    (tmp_path / "key-secret").write_text(f"{OLD}\n")
    assert read_secret("", tmp_path) == OLD
    assert read_secret(NEW, tmp_path) == NEW
