"""Shows that a receiver does what it is measured for: 200 means stored, once; a wrong signature is refused."""

import hashlib
import http.client
from concurrent.futures import ThreadPoolExecutor

from sign import body_of, signature_of
from targets import Target
from world import BenchError, World

REQUESTS, SENDERS = 320, 16


def prove(world: World, target: Target) -> None:
    """Sends REQUESTS webhooks, each twice and by two senders at once, and a forged one."""
    started = world.sql("select now()")
    numbers = [n for n in range(REQUESTS) for _ in range(2)]
    with ThreadPoolExecutor(SENDERS) as pool:
        answers = list(pool.map(lambda i: _send(target, numbers[i::SENDERS]), range(SENDERS)))
    codes = {code for codes in answers for code in codes}
    if codes != {200}:
        raise BenchError(f"{target.name} answered {sorted(codes)} to signed webhooks, not only 200:\n"
                         + world.log_tail(f"{target.name}.log"))

    forged = _send(target, [REQUESTS], signature="0" * 64)
    if forged != [401]:
        raise BenchError(f"{target.name} answered {forged[0]} to a wrong signature, not 401")

    stored = world.sql(f"select encode(sha256(body), 'hex') from {target.table}").split()
    expected = {hashlib.sha256(body_of(n)).hexdigest() for n in range(REQUESTS)}
    if sorted(stored) != sorted(expected):
        raise BenchError(f"{target.name} stored {len(stored)} receipts of {len(set(stored))} bodies, "
                         f"expected {len(expected)} of as many, byte for byte")
    if target.table.startswith("peer."):
        marked = world.sql("select count(*) from peer.publish_logs "
                           f"where (extra_metadata ->> 'webhook_timestamp')::timestamptz >= '{started}'")
        if int(marked) != REQUESTS:
            raise BenchError(f"{target.name} marked {marked} publications, expected {REQUESTS}")


def _send(target: Target, numbers: list[int], signature: str = "") -> list[int]:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    codes = []
    for n in numbers:
        body = body_of(n)
        connection.request("POST", "/publishing/webhooks/instagram", body, {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": "sha256=" + (signature or signature_of(body)),
        })
        response = connection.getresponse()
        response.read()
        codes.append(response.status)
    connection.close()
    return codes
