"""One run of one webhook receiver, or of its ceiling: rate, latency, CPU and memory, and that it was right."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import sign
from targets import PEER_TABLE, SETTLE_TABLE, Target
from world import TOP, BenchError, World, children_cpu_seconds, cpu_seconds, family, memory_kib, run

REQUESTS_A_SECOND = 60_000  # no receiver takes more here: the file of requests is made so long
RECORD_BYTES = sign.HEAD_BYTES + sign.BODY_BYTES
CEILING_ROWS = 32  # of a batch


@dataclass
class Measured:
    target: str
    connections: int
    seconds: float
    requests: int  # answered 2xx; for the ceiling: receipts stored
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]  # for one request, by kind of process
    rss_mib: float  # of all its processes
    largest_mib: float  # of the one that has most

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def sign_requests(world: World, seconds: float) -> None:
    sign.write_requests(requests_file(world), int(REQUESTS_A_SECOND * seconds))


def empty(world: World) -> None:
    """The same start for every run."""
    world.sql(f"truncate {PEER_TABLE}, {SETTLE_TABLE}; vacuum peer.publish_logs; checkpoint;")
    world.redis("flushall")


def measure_new(world: World, target: Target, connections: int, seconds: float) -> Measured:
    """Every request is new. Checks that every acknowledged one is stored, once."""
    empty(world)
    measured, result = _measure(world, target, connections, seconds, wrap_after=0)
    _check_stored(world, target, connections, result)
    return measured


def measure_known(world: World, target: Target, connections: int, seconds: float, first: int) -> Measured:
    """Sends the first so many requests of the run before again and again. Checks that none is stored again."""
    measured, _ = _measure(world, target, connections, seconds, wrap_after=first)
    stored, distinct = _counts(world, target)
    if stored != distinct:
        raise BenchError(f"{target.name} stored {stored - distinct:,} receipts a second time")
    return measured


def measure_ceiling(world: World, lanes: int, connections: int, seconds: float) -> Measured:
    """The same statement, fed from memory by `lanes` connections."""
    empty(world)
    before = {**world.cpu(), "server": children_cpu_seconds()}
    out = run([Path(os.environ["BENCH_BUILD"]) / "tests/bench/loader", world.database_url(), requests_file(world),
               str(RECORD_BYTES), str(sign.BODY_BYTES), str(lanes), str(CEILING_ROWS), f"{seconds:g}"],
              timeout=seconds + 60)
    after = {**world.cpu(), "server": children_cpu_seconds()}
    result = json.loads(out)

    stored = int(world.sql(f"select count(*) from {SETTLE_TABLE}"))
    if stored != result["rows"]:
        raise BenchError(f"the ceiling reports {result['rows']:,} rows, stored are {stored:,}")
    cpu_us = {kind: (after[kind] - before[kind]) * 1e6 / stored for kind in after}
    return Measured(ceiling_name(lanes), connections, result["seconds"], stored, result["p50_ms"], result["p99_ms"],
                    {**cpu_us, "wrk": 0.0}, 0.0, 0.0)


def ceiling_name(lanes: int) -> str:
    return f"ceiling-{lanes}"


def _measure(world: World, target: Target, connections: int, seconds: float, wrap_after: int) -> tuple[Measured, dict]:
    target.check_alive(world)
    before = _cpu(world, target)
    result = _wrk(world, target, connections, seconds, wrap_after)
    after = _cpu(world, target)
    rss = [(memory_kib(pid, "VmRSS") or 0) / 1024 for pid in family(target.process.pid)]

    cpu_us = {kind: (after[kind] - before[kind]) * 1e6 / result["requests"] for kind in after}
    return Measured(target.name, connections, result["seconds"], result["requests"], result["p50_ms"], result["p99_ms"],
                    cpu_us, sum(rss), max(rss)), result


def _wrk(world: World, target: Target, connections: int, seconds: float, wrap_after: int) -> dict:
    out = run(["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s",
               "-s", TOP / "tests/bench/wrk.lua", f"http://127.0.0.1:{target.port}",
               "--", requests_file(world), str(RECORD_BYTES), str(wrap_after)], timeout=seconds + 60)
    result = json.loads(out.splitlines()[-1])
    if result["requests"] == 0 or result["non_2xx"] or result["socket_errors"]:
        raise BenchError(f"{target.name}: {result['non_2xx']} answers were not 2xx, {result['socket_errors']} socket "
                         f"errors, {result['requests']} answers in all:\n" + world.log_tail(f"{target.name}.log"))
    if result["ran_dry"]:
        raise BenchError(f"{target.name} took more than {REQUESTS_A_SECOND:,} requests a second: raise "
                         "REQUESTS_A_SECOND in tests/bench/measure.py")
    return result


def _check_stored(world: World, target: Target, connections: int, result: dict) -> None:
    """wrk drops up to one request a connection when the time is up: those may be stored too, for nobody withdraws
    them. So the count lies between those acknowledged and those sent, and none is there twice."""
    answered, sent = result["requests"], result["taken"]
    stored, distinct = _counts(world, target)
    if not answered <= stored <= sent or sent - answered > connections + 1 or distinct != stored:
        raise BenchError(f"{target.name}: {sent:,} sent, {answered:,} acknowledged, but {stored:,} stored of "
                         f"{distinct:,} bodies")


def _counts(world: World, target: Target) -> tuple[int, int]:
    stored, distinct = world.sql(f"select count(*), count(distinct body) from {target.table}").split("|")
    return int(stored), int(distinct)


def _cpu(world: World, target: Target) -> dict[str, float]:
    return {"server": cpu_seconds(target.process.pid), **world.cpu(), "wrk": children_cpu_seconds()}


def requests_file(world: World) -> str:
    return str(world.folder / "requests")
