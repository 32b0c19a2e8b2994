"""A network namespace of a test's own: an empty loopback network in which every port is free."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000


class Namespace:
    """Lives as long as a process that holds it. Needs root."""

    def __enter__(self) -> "Namespace":
        script = "ip link set lo up && echo up && exec sleep 600"
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "up\n":
            raise RuntimeError("no network namespace can be made here")
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def command(self, *words: str) -> list[str]:
        """`words` as a command that runs inside."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *words]

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process inside."""
        return subprocess.Popen(self.command(*words), **options)

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call `function` in a thread whose new sockets are inside; raises what it raises."""
        outcome: list[tuple[T | None, BaseException | None]] = []

        def run() -> None:
            try:
                descriptor = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
                try:
                    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(descriptor)
                outcome.append((function(*arguments, **named), None))
            except BaseException as error:  # noqa: BLE001 - carried to the caller
                outcome.append((None, error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


def unavailable() -> str | None:
    """Why no namespace can be made here, or None."""
    if os.geteuid() != 0:
        return "making a network namespace needs root"
    with_network = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return with_network.stderr.strip() or None if with_network.returncode else None


class AuthoritativeServer:
    """A real pdns_server with the bind backend, serving zone texts at one address of a namespace, port 53."""

    def __init__(self, namespace: Namespace, folder: Path, address: str, zones: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        named = []
        for name, text in zones.items():
            file = folder / f"{name.strip('.') or 'root'}.zone"
            file.write_text(text)
            named.append(f'zone "{name}" {{ type master; file "{file}"; }};')
        (folder / "named.conf").write_text("\n".join(named) + "\n")
        settings = {
            "config-dir": folder,
            "socket-dir": folder,
            "launch": "bind",
            "bind-config": folder / "named.conf",
            "local-address": address,
            "local-port": 53,
            "security-poll-suffix": "",
            "daemon": "no",
            "guardian": "no",
            "disable-syslog": "yes",
        }
        words: Sequence[str] = ["pdns_server", *(f"--{key}={value}" for key, value in settings.items())]
        self._log = (folder / "log").open("wb")
        self._process = namespace.start(*words, stdout=self._log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


class Resolver:
    """A real unbound that knows nothing but the root hints it is given."""

    def __init__(self, namespace: Namespace, folder: Path, address: str, hints: str) -> None:
        folder.mkdir(parents=True)
        (folder / "root.hints").write_text(hints)
        (folder / "unbound.conf").write_text(f"""
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    interface: {address}
    access-control: 127.0.0.0/8 allow
    do-ip6: no
    do-not-query-localhost: no
    module-config: "iterator"
    root-hints: "{folder}/root.hints"
    num-threads: 1
    outgoing-range: 64
    qname-minimisation: yes
""")
        self._log = (folder / "log").open("wb")
        self._process = namespace.start(
            "unbound", "-d", "-p", "-c", str(folder / "unbound.conf"), stdout=self._log, stderr=subprocess.STDOUT
        )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()
