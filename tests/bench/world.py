"""The private Postgres and Redis of one bench run, and what processes cost.

Everything here ends with the run: the servers by the end of their stdin, other processes by a signal when their
parent dies, the folder by close().
"""

import ctypes
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PG_BIN = Path("/usr/lib/postgresql/15/bin")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
READY_SECONDS = 30
RUN_SECONDS_MAX = 1800

# As a machine of one's own would be set, with every promise kept: fsync, full_page_writes and synchronous_commit
# stay on. Autovacuum is off so that it does not fall into some runs and not into others; we vacuum in between.
PG_SETTINGS = {
    "max_connections": "200",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
    "jit": "off",
    "log_line_prefix": "%n %p ",
}


class BenchError(Exception):
    """What went wrong and what to do about it, for people."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class World:
    """Postgres with settle's schema and a Redis, both in a folder of their own."""

    def __init__(self, **pg_settings: str):
        # /var/tmp: a disk, where /tmp may be memory. 0711: the servers' users pass through.
        self.folder = Path(tempfile.mkdtemp(prefix="settle-bench-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        self.servers = self.folder / "servers"
        self.processes: list[subprocess.Popen] = []
        self._holder = subprocess.Popen(
            [TOP / "ops/servers", "hold", self.servers], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if "SETTLE_DATABASE_URL" not in self._holder.stdout.read():
                raise BenchError("the private Postgres or Redis did not start; ops/servers says above why")
            self._configure({**PG_SETTINGS, "shared_buffers": f"{_memory_mib() // 6}MB", **pg_settings})
        except BaseException:
            self.close()
            raise

    def _configure(self, settings: dict[str, str]) -> None:
        for name, value in settings.items():
            self.sql(f"alter system set {name} = '{value}'", database="postgres")
        run([*_as_postgres(), PG_BIN / "pg_ctl", "-D", self.pg_data, "-l", self.pg_log, "-m", "fast", "-w", "restart"])

    @property
    def socket_folder(self) -> Path:
        return self.servers / "postgres"

    @property
    def pg_data(self) -> Path:
        return self.socket_folder / "data"

    @property
    def pg_log(self) -> Path:
        return self.socket_folder / "log"

    @property
    def redis_socket(self) -> Path:
        return self.servers / "redis/redis.sock"

    def database_url(self, database: str = "settle", user: str = "", scheme: str = "postgresql") -> str:
        """An empty user leaves the choice to the program, as settle's own URL does."""
        return f"{scheme}://{user + '@' if user else ''}/{database}?host={self.socket_folder}"

    def sql(self, text: str, database: str = "settle", user: str = "postgres", **variables: object) -> str:
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.database_url(database, user)]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        return run(command, stdin=text).strip()

    def redis(self, *words: str) -> str:
        return run(["redis-cli", "-s", self.redis_socket, *words]).strip()

    def start(self, command: list, env: dict[str, str], log: str, cwd: Path | None = None) -> subprocess.Popen:
        """Starts a process that ends with us; what it says goes to a file of the run's folder."""
        with open(self.folder / log, "ab") as file:
            process = subprocess.Popen(command, env={**os.environ, **env}, cwd=cwd, stdin=subprocess.DEVNULL,
                                       stdout=file, stderr=file, preexec_fn=die_with_parent)
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.processes.remove(process)

    def log_tail(self, log: str, lines: int = 15) -> str:
        path = self.folder / log
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of the two servers."""
        postmaster = int((self.pg_data / "postmaster.pid").read_text().split()[0])
        redis = int(next(line for line in self.redis("info", "server").splitlines()
                         if line.startswith("process_id:")).split(":")[1])
        return {"postgres": cpu_seconds(postmaster), "redis": cpu_seconds(redis)}

    def close(self) -> None:
        for process in list(self.processes):
            self.stop(process)
        try:
            self._holder.stdin.close()
            self._holder.wait(60)
        except (OSError, subprocess.TimeoutExpired):
            say(f"the private servers did not stop in time; look for processes of {self.servers}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def run(command: list, stdin: str = "", env: dict[str, str] | None = None, timeout: float = RUN_SECONDS_MAX,
        on_start=lambda pid: None, code: int = 0) -> str:
    """Runs a command to its end, which must be with that exit code, and returns what it printed."""
    name = Path(command[0]).name
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env={**os.environ, **(env or {})}, preexec_fn=die_with_parent)
    on_start(process.pid)
    try:
        out, errors = process.communicate(stdin, timeout)
    except BaseException as why:
        process.kill()
        process.wait()
        if isinstance(why, subprocess.TimeoutExpired):
            raise BenchError(f"{name} took more than {timeout:.0f} s and was stopped") from None
        raise
    if process.returncode != code:
        raise BenchError(f"{name} ended with exit code {process.returncode}: {(errors or out).strip()[-2000:]}")
    return out


def wait_for(condition, what: str, seconds: float = READY_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


def _as_postgres() -> list[str]:
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


# What processes cost, from /proc.


def family(pid: int) -> list[int]:
    """The process and all below it."""
    pids = [pid]
    for parent in pids:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                pids += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
        except OSError:
            pass  # ended meanwhile
    return pids


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and all below it, ended ones that were waited for included."""
    ticks = 0
    for member in family(pid):
        fields = _stat(member)
        if fields:
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return ticks / TICKS_PER_SECOND


def own_cpu_seconds(pid: int) -> float | None:
    fields = _stat(pid)
    return sum(map(int, fields[11:13])) / TICKS_PER_SECOND if fields else None


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def memory_kib(pid: int, field_name: str) -> int | None:
    """A kB line of /proc/PID/status, such as VmRSS, VmHWM, RssAnon."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field_name + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def children_cpu_seconds() -> float:
    """CPU time of our own children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
