"""The unix transport's connections, where a thread is slower than the end of the connection that it works for."""

import asyncio
import socket
import threading
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from pdns_gtm_backend.dns.counters import Counters
from pdns_gtm_backend.dns.transactions import Transactions
from pdns_gtm_backend.dns.unix import UnixServer, _Connection


class SlowServer(UnixServer):
    """Begins a transaction for any line, once it may."""

    def __init__(self, transactions: Transactions, control: socket.socket) -> None:
        backend: Any = SimpleNamespace(administration=SimpleNamespace(transactions=transactions))
        super().__init__(backend, control, control, Counters(CollectorRegistry()))
        self.transactions, self.may, self.begun = transactions, threading.Event(), threading.Event()
        self.ended = asyncio.Event()

    def answer(self, line: bytes, connection: str) -> bytes:
        assert self.may.wait(60)
        self.transactions.start(connection, 7, "shop.example", replaces=False)
        self.begun.set()
        return line + b"\n"

    def closed(self, connection: _Connection) -> None:
        super().closed(connection)
        self.ended.set()


def test_a_transaction_that_begins_after_its_connection_has_ended_ends_too() -> None:
    transactions = Transactions()

    async def end_before_the_answer() -> None:
        mine, theirs = socket.socketpair()
        server = SlowServer(transactions, mine)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: _Connection(server), theirs)
        mine.sendall(b'{"method": "startTransaction"}\n')
        mine.close()
        await asyncio.wait_for(server.ended.wait(), 60)
        server.ended.clear()
        server.may.set()
        assert await asyncio.to_thread(server.begun.wait, 60)
        assert len(transactions) == 1 or server.ended.is_set()
        await asyncio.wait_for(server.ended.wait(), 60)

    asyncio.run(end_before_the_answer())
    assert len(transactions) == 0
