"""ops/bench overload: what is left of the peak when more comes than can be stored."""

import dataclasses
import json
import os
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import table
from measure import RECORD_BYTES, requests_file, sign_requests
from options import Parser, number, some_of
from proof import prove
from targets import SETTLE_TABLE, Target, settle
from world import BenchError, World, children_cpu_seconds, cpu_seconds, family, memory_kib, run, say, wait_for

FIRST_RATE = 2000  # of the ramp
RAMP_FACTOR = 1.4
RAMP_SECONDS = 2
PAUSE_MS = 20  # so slow that at three times what it takes the machine has CPU left, which is another limit
FACTORS = (1, 2, 3)  # of the peak
ENOUGH = 0.97  # of what is offered: below it, a step is beyond the capacity
WARM_SECONDS = 1  # of each run, not counted
DRAIN_SECONDS = 120
NOTES = """\
Load generator, gateway, Postgres and Redis share this machine's {cores} cores. The load is open: webhooks come at a
constant rate, whatever becomes of the earlier ones, and all latencies count from the moment when they were meant to
come. Goodput: answered 200 within the run, stored or spooled; the peak is the most that was stored at once. No
connection: were meant to come, but all connections were waiting. Cores: used of the machine."""


@dataclass
class Limit:
    what: str
    commit_ms: float  # so much longer takes each commit than it must
    spool_mib: int  # 0: none


# What the capacity is a matter of.
LIMITS = {
    "store": Limit(f"Postgres, each of whose commits takes {PAUSE_MS} ms more", PAUSE_MS, 0),
    "lasting": Limit("such a Postgres, beside a spool of which overload has filled its half", PAUSE_MS, 1),
    "burst": Limit("such a Postgres, beside a spool with room for all that it does not take", PAUSE_MS, 1024),
    "cpu": Limit("the CPU, which gateway, Postgres and load generator share", 0, 0),
}


@dataclass
class Measured:
    offered: float  # a second; so are all below up to cut
    good: float
    spooled: float
    refused: float
    other: float
    cut: float
    unsent: float  # were meant to be sent, but no connection was free
    good_ms: tuple[float, float]  # p50, p99
    refused_ms: tuple[float, float]
    refused_from_sent_p99_ms: float  # the same without the generator's own delay
    retry_after_s: list[list[int]]  # [seconds, how many]
    opened: int  # connections
    rss_mib: float
    cores: dict[str, float]

    @property
    def stored(self) -> float:
        return self.good - self.spooled


def run_overload(options) -> None:
    with World() as world:
        say("signing requests")
        sign_requests(world, options.seconds + WARM_SECONDS)
        results = [(LIMITS[name], *_run_limit(world, LIMITS[name], options)) for name in options.limits]

    if options.json:
        print(json.dumps([{"limit": limit.what, "ramp": [dataclasses.asdict(one) for one in ramp],
                           "rounds": [[dataclasses.asdict(one) for one in turn] for turn in rounds]}
                          for limit, ramp, rounds in results]))
        return
    for result in results:
        _print(*result, options)
    print(NOTES.format(cores=os.cpu_count()))


def _run_limit(world: World, limit: Limit, options) -> tuple[list[Measured], list[list[Measured]]]:
    target = _target(world, limit)
    _empty(world)
    target.start(world)
    prove(world, target)
    _pause_commits(world, limit.commit_ms)
    say(f"the limit: {limit.what}")
    ramp = []
    while len(ramp) < 2 or any(one.stored >= ENOUGH * one.offered or one.offered < 1.5 * _peak(ramp)
                               for one in ramp[-2:]):
        rate = FIRST_RATE * RAMP_FACTOR ** len(ramp)
        ramp.append(_measure(world, target, rate, RAMP_SECONDS, options))
    peak = _peak(ramp)
    rounds = [[_measure(world, target, factor * peak, options.seconds, options) for factor in FACTORS]
              for _ in range(options.rounds)]
    _pause_commits(world, 0)
    world.stop(target.process)
    return ramp, rounds


def _peak(ramp: list[Measured]) -> float:
    """What goes to the spool instead is no measure of what the store takes."""
    return max(one.stored for one in ramp)


def _target(world: World, limit: Limit) -> Target:
    target = settle(world, Path(os.environ["BENCH_BUILD"]))
    target.name = "settle-overload"
    target.env["SETTLE_INGEST_MAX_CONNECTIONS"] = "4096"
    if limit.spool_mib:
        spool = world.folder / f"spool-{limit.spool_mib}"
        spool.mkdir()
        target.env["SETTLE_SPOOL_FOLDER"] = str(spool)
        target.env["SETTLE_SPOOL_MEGABYTES"] = str(limit.spool_mib)
    return target


def _pause_commits(world: World, commit_ms: float) -> None:
    """A store that is far away or has a slow disk: its statements take longer, and nobody's CPU."""
    world.sql(f"drop trigger if exists pause on {SETTLE_TABLE}; drop function if exists settle.pause()")
    if commit_ms:
        world.sql(f"create function settle.pause() returns trigger language plpgsql as "
                  f"$$ begin perform pg_sleep({commit_ms / 1000}); return null; end $$; "
                  f"create trigger pause after insert on {SETTLE_TABLE} for each statement "
                  f"execute function settle.pause()")


def _empty(world: World) -> None:
    world.sql(f"truncate {SETTLE_TABLE}; checkpoint;")
    world.redis("flushall")


def _measure(world: World, target: Target, rate: float, seconds: float, options) -> Measured:
    _empty(world)
    target.check_alive(world)
    before = _cpu(world, target)
    began = time.monotonic()
    out = run([Path(os.environ["BENCH_BUILD"]) / "tests/bench/arrivals", str(target.port), requests_file(world),
               str(RECORD_BYTES), str(options.connections), f"{rate:.0f}", str(WARM_SECONDS), f"{seconds:g}"],
              timeout=seconds + 60)
    took = time.monotonic() - began
    after = _cpu(world, target)
    result = json.loads(out)
    one = Measured(
        rate, result["good_in_time"] / seconds, result["spooled"] / seconds,
        result["refused"] / seconds, result["other"] / seconds, result["cut"] / seconds,
        result["meant_but_not_sent"] / (seconds + WARM_SECONDS),
        (result["stored_p50_ms"], result["stored_p99_ms"]), (result["refused_p50_ms"], result["refused_p99_ms"]),
        result["refused_from_sent_p99_ms"],
        result["retry_after_s"], result["opened"], max((memory_kib(pid, "VmHWM") or 0) / 1024 for pid in
                                                       family(target.process.pid)),
        {kind: (after[kind] - before[kind]) / took for kind in after})
    _check(world, target, result)
    say(f"{rate:,.0f}/s offered: {one.good:,.0f} good ({one.spooled:,.0f} spooled), {one.refused:,.0f} refused, "
        f"{one.other + one.cut:,.0f} other, {one.unsent:,.0f} unsent; good p99 {one.good_ms[1]:.0f} ms, refused p99 "
        f"{one.refused_ms[1]:.0f} ms; gateway {one.cores['gateway']:.2f} cores, Postgres {one.cores['postgres']:.2f}, "
        f"load {one.cores['load']:.2f}")
    return one


def _check(world: World, target: Target, result: dict) -> None:
    """What was acknowledged is stored, once; nothing was answered but 200 and 503 with Retry-After."""
    wait_for(lambda: _metric(target, "settle_spool_records") == 0, "the spool to be drained", DRAIN_SECONDS)
    stored, distinct = map(int, world.sql(f"select count(*), count(distinct body) from {SETTLE_TABLE}").split("|"))
    if result["other"] or stored != distinct or not result["acked"] <= stored <= result["sent"]:
        raise BenchError(f"{result['other']} other answers; {result['acked']:,} acknowledged, {stored:,} stored of "
                         f"{distinct:,} bodies:\n" + world.log_tail(f"{target.name}.log"))


def _metric(target: Target, name: str) -> float:
    with urllib.request.urlopen(f"http://{target.env['SETTLE_MONITOR_LISTEN']}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    return 0


def _cpu(world: World, target: Target) -> dict[str, float]:
    return {"gateway": cpu_seconds(target.process.pid), **world.cpu(), "load": children_cpu_seconds()}


# What is shown.


def _print(limit: Limit, ramp: list[Measured], rounds: list[list[Measured]], options) -> None:
    peak = _peak(ramp)
    print(f"\nThe limit is {limit.what}: peak {peak:,.0f}/s in a ramp of {len(ramp)} steps; {options.rounds} rounds of "
          f"{options.seconds} s: medians (least-most)")
    rows = []
    for factor, *runs in zip(FACTORS, *rounds):
        rows.append([
            f"{factor}x",
            f"{runs[0].offered:,.0f}",
            table.spread([one.good for one in runs], "{:,.0f}"),
            table.spread([one.good / peak for one in runs], "{:.2f}"),
            f"{median(one.spooled for one in runs):,.0f}",
            f"{median(one.refused for one in runs):,.0f}",
            f"{median(one.unsent for one in runs):,.0f}",
            _pair([one.good_ms for one in runs]),
            _pair([one.refused_ms for one in runs]),
            _retries(runs),
            f"{max(one.rss_mib for one in runs):.0f}",
            " ".join(f"{median(one.cores[kind] for one in runs):.2f}" for kind in ("gateway", "postgres", "load")),
        ])
    print(table.render(["load", "offered/s", "goodput/s", "of the peak", "spooled/s", "refused/s", "no connection/s",
                        "200: p50 / p99 ms", "503: p50 / p99 ms", "Retry-After s", "RSS MiB",
                        "cores: gateway, Postgres, load"], rows))


def _pair(values: list[tuple[float, float]]) -> str:
    return f"{median(p50 for p50, _ in values):.1f} / {median(p99 for _, p99 in values):.1f}"


def _retries(runs: list[Measured]) -> str:
    seconds = sorted(s for one in runs for s, n in one.retry_after_s for _ in range(max(1, n // 100)))
    return f"{seconds[0]}-{seconds[-1]}, median {median(seconds):.0f}" if seconds else ""


# The command line.


def parse_overload(arguments: list[str]):
    parser = Parser(prog="ops/bench overload", description="Goodput at one, two and three times the peak, which a ramp "
                    "finds first. Open load: webhooks come at a constant rate.")
    parser.add_argument("--seconds", type=number(2, 60), default=6, metavar="N", help="of each run (default: 6)")
    parser.add_argument("--rounds", type=number(1, 20), default=2, metavar="N", help="default: 2")
    parser.add_argument("--connections", type=number(1, 20000), default=3000, metavar="N",
                        help="that the load may open; opened when needed (default: %(default)s)")
    parser.add_argument("--limits", type=some_of(LIMITS), default=list(LIMITS), metavar="LIST",
                        help=f"what the capacity is a matter of, comma-separated (all: {','.join(LIMITS)})")
    parser.add_argument("--json", action="store_true", help="every single run as JSON instead of the table")
    return parser.parse_args(arguments)
