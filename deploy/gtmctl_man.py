"""Prints gtmctl's manual page (gtmctl.1), made from what its commands say of themselves: man(7) markup."""

import sys
from collections.abc import Iterator

import click

from pdns_gtm_backend.cli.doctor_report import EXIT_CODES
from pdns_gtm_backend.cli.failures import CODES
from pdns_gtm_backend.cli.main import NAME, cli

FILES = {
    "~/.config/gtmctl/config.toml": "Profiles: server, and token or token_file, for [profiles.NAME] each.",
    "$GTM_VAR/admin-token": "The first admin token of this machine.",
}
ENVIRONMENT = {
    "GTM_API": "The server's URL.",
    "GTM_TOKEN": "A token.",
    "GTM_PROFILE": "The profile to use.",
    "GTM_VAR": "Where admin-token is; ./var.",
}


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH {NAME.upper()} 1 2026-11-20 "pdns-gtm" "User commands"'
    yield from (".SH NAME", f"{NAME} \\- manages a pdns-gtm by its admin API", ".SH SYNOPSIS")
    yield from (f".B {NAME}", "[options] command [arguments]", ".SH DESCRIPTION", _text(cli.help or ""))
    yield from (".SH OPTIONS", "They may stand before or behind the command.", *_options(cli))
    yield ".SH COMMANDS"
    for command in cli.commands.values():
        yield from _command(NAME, command)
    yield from (".SH EXIT STATUS", *_listed({str(code): meaning for code, meaning in CODES.items()}))
    codes = ", ".join(f"{code} {level}" for level, code in EXIT_CODES.items() if level in ("ok", "warning", "problem"))
    yield from (".PP", f"doctor: {codes}, 3 wrong usage.")
    yield from (".SH ENVIRONMENT", *_listed(ENVIRONMENT), ".SH FILES", *_listed(FILES))
    yield from (".SH SEE ALSO", ".BR pdns-gtm-admin (8),", ".BR pdns-gtm-healthd (8)")


def _command(path: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _command(f"{path} {command.name}", inner)
        return
    context = click.Context(command, info_name=command.name)
    yield f".SS {_text(f'{path} {command.name}')}"
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f".B {_text(f'{path} {command.name}')}", _text(usage), ".PP", _text(command.help or ""))
    yield from _options(command)


def _options(command: click.Command) -> Iterator[str]:
    """The options that a command's own help shows, but for --help and, of commands, those that all have."""
    context = click.Context(command, info_name=command.name)
    shared = {name for parameter in cli.params for name in parameter.opts} if command is not cli else set()
    for parameter in command.params:
        if not shared.isdisjoint(parameter.opts):
            continue
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield from (".TP", f"\\fB{_text(record[0])}\\fR", _text(record[1]) or "\\&")


def _listed(items: dict[str, str]) -> Iterator[str]:
    for term, meaning in items.items():
        yield from (".TP", f"\\fB{_text(term)}\\fR", _text(meaning))


def _text(text: str) -> str:
    """Text as it is, in man(7): one paragraph for each, nothing at a line's begin that is markup."""
    paragraphs = (" ".join(part.split()) for part in text.replace("\b", "").split("\n\n"))
    escaped = (part.replace("\\", "\\e").replace("-", "\\-") for part in paragraphs if part)
    return "\n.PP\n".join("\\&" + part if part[0] in ".'" else part for part in escaped)


if __name__ == "__main__":
    sys.stdout.write(page())
