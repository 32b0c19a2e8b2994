"""Encryption of private keys and other secrets before they enter the store, its snapshot on disk or a backup.

Fernet (https://cryptography.io/en/latest/fernet/): AES-128-CBC and HMAC-SHA256. Its keys are derived from secrets of
settings.
"""

import base64
import re
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pdns_gtm_backend.operations.errors import NotPermitted

SECRET_CHARACTERS: Final = 20
"""A shorter secret could be guessed by whoever has the store."""
FILE_NAME: Final = "key-secret"
PURPOSE: Final = b"pdns-gtm sealed keys"
SEPARATOR: Final = "\n"


class Sealer:
    """Encrypts with the first secret, decrypts with any: a new one is put before the old one.

    Raises ValueError where a secret is too short.
    """

    def __init__(self, secrets: str) -> None:
        listed = re.findall(r"[^\s,]+", secrets)
        if any(len(secret) < SECRET_CHARACTERS for secret in listed):
            raise ValueError(
                f"a secret has fewer than {SECRET_CHARACTERS} characters: make one with 'openssl rand -hex 32'"
            )
        self._fernet = MultiFernet([_fernet(secret) for secret in listed]) if listed else None

    def seal(self, purpose: str, secret: str) -> str:
        """Encrypt; only `open` with the same purpose gives it back. Raises NotPermitted where there is no key."""
        text = f"{purpose}{SEPARATOR}{secret}"
        return self._key().encrypt(text.encode()).decode()

    def open(self, purpose: str, sealed: str) -> str:
        """The secret. Raises NotPermitted where it cannot be read with the secrets of this server."""
        try:
            opened = self._key().decrypt(sealed.encode()).decode()
        except (InvalidToken, UnicodeError):
            raise NotPermitted(
                f"{purpose} was encrypted with another secret: GTM_KEY_SECRET must be the same on every server"
            ) from None
        named, _, secret = opened.partition(SEPARATOR)
        if named != purpose:
            raise NotPermitted(f"{purpose} is not what was encrypted, which is {named}")
        return secret

    def _key(self) -> MultiFernet:
        if self._fernet is None:
            raise NotPermitted(
                "no secret can be kept: set GTM_KEY_SECRET, the same on every server ('openssl rand -hex 32' makes one)"
            )
        return self._fernet


NO_SEALER: Final = Sealer("")
"""Of processes without a secret."""


def sealer_of(given: str, folder: Path) -> Sealer:
    """The sealer of settings. Raises ValueError, which names the setting, where its secret is too short."""
    try:
        return Sealer(read_secret(given, folder))
    except ValueError as error:
        raise ValueError(f"GTM_KEY_SECRET: {error}") from None


def read_secret(given: str, folder: Path) -> str:
    """The secret of settings, else that in the file `key-secret` in `folder`; "" where there is neither."""
    if given:
        return given
    try:
        return (folder / FILE_NAME).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _fernet(secret: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
