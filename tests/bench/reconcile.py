"""ops/bench reconcile: settle-reconciler beside one SQL statement and beside a row loop, each on a fresh copy."""

import json
import os
import re
import statistics
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import table
from options import Parser, number
from world import TOP, BenchError, World, family, memory_kib, own_cpu_seconds, run, say

HERE = TOP / "tests/bench"
SAMPLE_SECONDS = 0.02
IDLE_RUNS = 7
HELD_RUNS = 10
STOPPED_BY_GUARD = 75
LOG_LINE = re.compile(r"^(\d+\.\d+) (\d+) LOG:  duration: (\d+\.\d+) ms  (?:statement|execute [^:]*): (\S+)")


@dataclass
class Measured:
    """One run of one way to do the job."""

    way: str
    rows: int  # stale rows looked at
    seconds: float
    backend_cpu_us: float  # a row
    backend_anon_mib: float  # memory of its own at most
    program_rss_mib: float | None  # at most
    wal_bytes: float  # a row
    longest_ms: float | None  # transaction
    outcome: dict[str, int]  # what the rows and the ledger say afterwards

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def run_reconcile(options) -> None:
    rows, every = options.rows, options.rows // options.stale
    stale = rows // every
    with World(max_wal_size="32GB") as world:
        _fill(world, "base_small", rows // 10, every)
        of_small = _measure(world, "base_small", stale // 10, _settle)
        say(_progress(of_small))
        _fill(world, "base", rows, every)
        pairs = [_pair(world, stale, turn) for turn in range(options.rounds)]
        held = _held(world) if options.guard else None
        idle_ms = _idle_ms(world)
        loop = _measure(world, "base", options.loop_rows, _row_loop)
        say(_progress(loop))
    _print(rows, pairs, of_small, loop, idle_ms)
    if held:
        print(held)


# What is set up.


def _fill(world: World, database: str, rows: int, every: int) -> None:
    say(f"filling {database}: {rows:,} publications, {rows // every:,} of them stale, 70 % of those with evidence; "
        "millions take minutes")
    world.sql(f"create database {database} template settle", database="postgres")
    world.sql((HERE / "fill.sql").read_text(), database=database, rows=rows, every=every)


def _copy(world: World, base: str) -> str:
    """A copy of the files: every run meets the same pages."""
    world.sql(f"drop database if exists run with (force); create database run template {base} strategy file_copy; "
              "checkpoint;", database="postgres")
    return "run"


# The three ways. Each returns its name and, where it has measured itself, its seconds.


def _settle(world: World, database: str, rows: int, watch: "Watch") -> tuple[str, float | None]:
    report = _reconcile(world, database, watch, "--force")
    if report["total_checked"] < rows:
        raise BenchError(f"settle-reconciler checked {report['total_checked']:,} of {rows:,} stale rows")
    return "settle-reconciler", None


def _reconcile(world: World, database: str, watch: "Watch", *arguments: str, code: int = 0) -> dict:
    out = run([Path(os.environ["BENCH_BUILD"]) / "reconciler/settle-reconciler", "publications", "--json", *arguments],
              env={"SETTLE_DATABASE_URL": world.database_url(database),
                   "SETTLE_REDIS_URL": f"unix://{world.redis_socket}"},
              on_start=watch.follow, code=code)
    return json.loads(out)


def _one_statement(world: World, database: str, rows: int, watch: "Watch") -> tuple[str, float | None]:
    world.sql((HERE / "one_statement.sql").read_text(), database=database, run_id=uuid.uuid4())
    return "one statement", None


def _row_loop(world: World, database: str, rows: int, watch: "Watch") -> tuple[str, float | None]:
    out = run(["/usr/bin/python3", "-B", HERE / "peers/sqlalchemy/rowloop.py", str(rows)],
              env={"DATABASE_URL": world.database_url(database, "postgres", "postgresql+asyncpg")})
    return "row loop", json.loads(out)["seconds"]


# What is measured.


class Watch(threading.Thread):
    """Looks at the backends of one database, and at one program, until stopped."""

    def __init__(self, world: World, database: str):
        super().__init__(daemon=True)
        self.program: int | None = None
        self.program_rss_kib = 0
        self._postmaster = int((world.pg_data / "postmaster.pid").read_text().split()[0])
        self._mark = f" {database} ".encode()
        self._cpu: dict[int, float] = {}
        self._anon_kib: dict[int, int] = {}
        self._stopped = threading.Event()

    def follow(self, pid: int) -> None:
        self.program = pid

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self._look()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    @property
    def backend_cpu_seconds(self) -> float:
        return sum(self._cpu.values())

    @property
    def backend_anon_mib(self) -> float:
        return max(self._anon_kib.values(), default=0) / 1024

    def _look(self) -> None:
        for pid in family(self._postmaster)[1:]:
            try:
                if self._mark not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    continue
            except OSError:
                continue
            self._cpu[pid] = own_cpu_seconds(pid) or self._cpu.get(pid, 0.0)
            self._anon_kib[pid] = max(self._anon_kib.get(pid, 0), memory_kib(pid, "RssAnon") or 0)
        if self.program:
            self.program_rss_kib = max(self.program_rss_kib, memory_kib(self.program, "VmHWM") or 0)


def _measure(world: World, base: str, rows: int, way) -> Measured:
    database = _copy(world, base)
    world.sql(f"alter database {database} set log_min_duration_statement = 0; "
              f"alter database {database} set log_parameter_max_length = 0;", database="postgres")
    log_from = world.pg_log.stat().st_size
    wal_from = world.sql("select pg_current_wal_insert_lsn()", database="postgres")
    watch = Watch(world, database)
    watch.start()

    started = time.monotonic()
    name, own_seconds = way(world, database, rows, watch)
    seconds = own_seconds or time.monotonic() - started

    watch.stop()
    wal = int(world.sql(f"select pg_current_wal_insert_lsn() - '{wal_from}'::pg_lsn", database="postgres"))
    longest = _longest_transaction_ms(world.pg_log, log_from)
    return Measured(name, rows, seconds, watch.backend_cpu_seconds * 1e6 / rows, watch.backend_anon_mib,
                    watch.program_rss_kib / 1024 if watch.program else None, wal / rows, longest,
                    _outcome(world, database))


def _pair(world: World, stale: int, turn: int) -> tuple[Measured, Measured]:
    """Both after one another, in turned order: neighbours in time share the machine's mood."""
    ways = [_settle, _one_statement]
    done = {}
    for way in ways if turn % 2 == 0 else ways[::-1]:
        done[way] = _measure(world, "base", stale, way)
        say(_progress(done[way]))
    settle, one = done[_settle], done[_one_statement]
    if settle.outcome != one.outcome:
        raise BenchError(f"the two ways disagree:\nsettle-reconciler: {settle.outcome}\none statement: {one.outcome}")
    return settle, one


def _outcome(world: World, database: str) -> dict[str, int]:
    out = world.sql("""
        select 'row ' || status || ' ' || coalesce(extra_metadata ->> 'reconciliation_reason', '-'), count(*)
        from settle.publish_logs group by 1
        union all
        select 'event ' || severity || ' ' || (metadata ->> 'reason') || ' ' || (receipt_id is not null), count(*)
        from settle.social_sync_ledger group by 1
        order by 1""", database=database)
    return {line.rpartition("|")[0]: int(line.rpartition("|")[2]) for line in out.splitlines()}


def _longest_transaction_ms(log: Path, offset: int) -> float | None:
    """From the server's log of every statement: from the start of a begin to the end of its commit."""
    begun: dict[str, float] = {}
    longest = 0.0
    with open(log, errors="replace") as file:
        file.seek(offset)
        for line in file:
            found = LOG_LINE.match(line)
            if not found:
                continue
            end_ms, pid, took_ms, word = float(found[1]) * 1e3, found[2], float(found[3]), found[4].lower().strip(";")
            if word == "begin":
                begun[pid] = end_ms - took_ms
            elif word in ("commit", "rollback") and pid in begun:
                longest = max(longest, end_ms - begun.pop(pid))
            elif pid not in begun:
                longest = max(longest, took_ms)
    return longest or None


def _held(world: World) -> str:
    """Runs without --force: the guard lets the evidence through and no time-out, however often."""
    database = _copy(world, "base")
    settled = []
    for _ in range(HELD_RUNS):
        report = _reconcile(world, database, Watch(world, database), code=STOPPED_BY_GUARD)
        if report["stopped_by"] != "guard" or report["timed_out"] != 0 or "--force" not in report["message"]:
            raise BenchError(f"the guard let a run through: {report}")
        settled.append(report["marked_success"] + report["marked_failed"])
    out = world.sql("select count(*) from settle.publish_logs "
                    "where extra_metadata ->> 'reconciliation_reason' = 'webhook_timeout'", database=database)
    if int(out) != 0 or settled[0] == 0 or any(settled[1:]):
        raise BenchError(f"{out.strip()} rows failed by time-out; settled, run by run: {settled}")
    return (f"{HELD_RUNS} runs without --force: {settled[0]:,} settled by evidence in the first, none failed by time-out "
            f"in any, exit {STOPPED_BY_GUARD} each")


def _idle_ms(world: World) -> list[float]:
    """Runs that find nothing to do, on a table that has just been settled and vacuumed."""
    database = _copy(world, "base")
    world.sql("update settle.publish_logs set status = 'success' where status = 'processing'; "
              "vacuum analyze settle.publish_logs; checkpoint;", database=database)
    took = []
    for _ in range(IDLE_RUNS + 1):
        started = time.monotonic()
        _settle(world, database, 0, Watch(world, database))
        took.append((time.monotonic() - started) * 1e3)
    say(f"idle: {', '.join(f'{ms:.0f}' for ms in took)} ms")
    return took[1:]  # the first one looks at the receipts of all time


# What is shown.


def _progress(one: Measured) -> str:
    return f"{one.way}: {one.rows:,} rows in {one.seconds:.1f} s, {one.rate:,.0f}/s"


def _print(rows: int, pairs, of_small: Measured, loop: Measured, idle_ms: list[float]) -> None:
    settle, one = ([pair[i] for pair in pairs] for i in (0, 1))
    stale = settle[0].rows
    print(f"\n{stale:,} stale of {rows:,} publications, 70 % with evidence, {len(pairs)} rounds, a fresh copy for each "
          "run: medians (least-most)")
    print(table.render(
        ["", "stale rows", "rows/s", "of one statement", "backend us", "backend's own MiB", "program MiB", "WAL bytes",
         "longest transaction ms"],
        [
            _row(settle, table.spread([ours.rate / theirs.rate for ours, theirs in pairs], "{:.2f}")),
            _row(one, "1"),
            _row([loop], f"{loop.rate / statistics.median(theirs.rate for theirs in one):.3f}"),
            _row([of_small], ""),
        ]))
    print(f"row loop: measured {loop.rows:,} rows; {stale:,} would be {stale / loop.rate / 60:.0f} min (extrapolated)")
    print(f"last row: of {rows // 10:,} publications; compare the memory")
    print(f"idle run, none stale of {rows:,}: {table.spread(idle_ms, '{:.0f}')} ms, start and connect included")
    print("us and WAL bytes: for one stale row. backend's own: RssAnon at most, seen every "
          f"{SAMPLE_SECONDS * 1e3:.0f} ms. program: VmHWM.")
    print("settle-reconciler and the one statement end in the same rows and events (checked).")


def _row(runs: list[Measured], ratio: str) -> list[str]:
    def median(value, form: str) -> str:
        values = [value(one) for one in runs]
        return "" if None in values else form.format(statistics.median(values))

    return [
        runs[0].way, f"{runs[0].rows:,}", table.spread([one.rate for one in runs], "{:,.0f}"), ratio,
        median(lambda one: one.backend_cpu_us, "{:.1f}"), median(lambda one: one.backend_anon_mib, "{:.1f}"),
        median(lambda one: one.program_rss_mib, "{:.1f}"), median(lambda one: one.wal_bytes, "{:,.0f}"),
        median(lambda one: one.longest_ms, "{:,.0f}"),
    ]


def parse_reconcile(arguments: list[str]):
    parser = Parser(
        prog="ops/bench reconcile", description="settle-reconciler beside one SQL statement and beside a row loop.")
    parser.add_argument("--rows", type=number(10_000, 50_000_000), default=5_000_000, metavar="N",
                        help="publications in all (default: 5000000)")
    parser.add_argument("--stale", type=number(1_000, 10_000_000), default=1_000_000, metavar="N",
                        help="how many of them are stale, rounded so that they lie evenly (default: 1000000)")
    parser.add_argument("--rounds", type=number(1, 10), default=2, metavar="N",
                        help="of settle-reconciler and the one statement (default: 2)")
    parser.add_argument("--loop-rows", type=number(100, 100_000), default=4000, metavar="N",
                        help="how many rows the row loop settles (default: 4000)")
    parser.add_argument("--guard", action="store_true", help="also ten runs without --force: nothing is timed out")
    options = parser.parse_args(arguments)
    if options.stale * 2 > options.rows:
        parser.error("--stale must be at most half of --rows: a table holds settled publications too")
    return options
