"""world: a Postgres and a Redis of our own (ops/servers), a gateway that the stand-in for systemctl starts with listeners
that are kept here, and the environment in which a page's commands are run. All ends with the program."""
import atexit
import hashlib
import hmac
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

here = pathlib.Path(__file__).resolve().parent
top = pathlib.Path(os.environ.get("SETTLE_TOP", here.parent.parent))
PLATFORMS = ["instagram", "tiktok", "youtube"]
ROLES = ["ingest", "admin", "monitor"]
PATIENCE_S = 40
FIRST_HANDED = 3  # as sd_listen_fds(3) has it


class Skip(Exception):
    """This machine forbids what the fault needs."""


class World:
    def __enter__(self):
        build = os.environ.get("SETTLE_BUILD") or sys.exit("no SETTLE_BUILD, the build folder")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.dir = tempfile.mkdtemp(prefix="settle-test-", dir="/var/tmp")
        os.chmod(self.dir, 0o755)
        self.plain = self.environment(build)
        self.servers = subprocess.Popen([top / "ops/servers", "hold", self.dir], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, start_new_session=True, env=self.plain)
        atexit.register(self.close)
        for name, value in re.findall(r"export (\w+)='(.*)'", self.servers.stdout.read()):
            self.plain[name] = value
        self.listeners = self.listen()
        os.mkdir(f"{self.dir}/gateway")
        self.env = dict(self.plain)
        self.loads = []
        self.reset()
        self.make_key()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        atexit.unregister(self.close)
        self.stop()
        self.unmount()
        self.servers.stdin.close()
        self.servers.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def environment(self, build):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("SETTLE_", "LISTEN_", "PG"))}
        return env | {
            "PATH": f"{here}/bin:{build}/gateway:{build}/reconciler:{env['PATH']}",
            "no_proxy": "*",
            "RUNBOOKS_WORLD": self.dir,
            "SETTLE_TOP": str(top),
            "SETTLE_CONFIG": f"{self.dir}/settle.yaml",
            "SETTLE_SPOOL_FOLDER": f"{self.dir}/spool",
            "SETTLE_SPOOL_RESERVE_MEGABYTES": "1",
            "SETTLE_UNSAFE_OK": "true",  # the tests' folder may lie on anything
            "SETTLE_ADMIN_RECONCILER": f"{build}/reconciler/settle-reconciler",
        } | {f"SETTLE_SECRET_{name.upper()}_FILE": f"{self.dir}/{name}.secret" for name in PLATFORMS}

    def listen(self):
        """One a role, at the numbers where a started program looks for them. As by default, ingest's is for all addresses."""
        hosts = ["0.0.0.0" if role == "ingest" else "127.0.0.1" for role in ROLES]
        sockets = [socket.create_server((host, 0), backlog=4096) for host in hosts]
        spare = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(sockets)]
        for i, (role, s) in enumerate(zip(ROLES, sockets)):
            port = s.getsockname()[1]
            self.plain[f"SETTLE_{role.upper()}_URL"] = f"http://127.0.0.1:{port}"
            self.plain[f"SETTLE_{role.upper()}_LISTEN"] = f"{hosts[i]}:{port}"
            s.detach()
        for fd in range(FIRST_HANDED, FIRST_HANDED + len(ROLES)):
            if fd == self.servers.stdin.fileno():
                self.servers.stdin = os.fdopen(os.dup(fd), "w")
            os.dup2(spare[fd - FIRST_HANDED], fd)
        return range(FIRST_HANDED, FIRST_HANDED + len(ROLES))

    def reset(self):
        """As after the start, without a gateway; a fault changes env and starts one."""
        self.stop()
        self.unmount()
        self.env = dict(self.plain)
        for name in ("postgres", "redis"):
            self.server(name, "CONT")
        self.run("systemctl", "start", "postgresql")
        self.sql("alter system reset all", "alter role settle_gateway reset all", "select pg_reload_conf()")
        self.sql("""set session_replication_role = replica;
                    do $$ declare t regclass; begin
                      for t in select format('settle.%I', tablename) from pg_catalog.pg_tables
                               where schemaname = 'settle'
                                 and tablename not in ('schema_version', 'api_keys', 'hint_key', 'job_fences', 'insights_platforms',
                                                        'scheduler_cumulative_stats', 'scheduler_stats_baseline') loop
                        execute 'delete from ' || t;
                      end loop;
                    end $$""")
        self.redis("flushall")
        shutil.rmtree(f"{self.dir}/spool", ignore_errors=True)
        os.mkdir(f"{self.dir}/spool", 0o700)
        for name in PLATFORMS:
            self.write(f"{name}.secret", f"{name}-secret-of-the-tests\n")
        self.write("settle.yaml", "log:\n  level: info\n")
        self.write("gateway/log", "")

    def make_key(self):
        """The pages' key for the API, which wants one by default: made as their README says."""
        how = re.search(r"(?ms)^```sh$(.*?)^```$", (top / "ops/runbooks/README.md").read_text())[1]
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", how + 'printf %s "$SETTLE_ADMIN_HEADER"'],
                              env=self.plain | {"TMPDIR": self.dir}, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"no key: {done.stderr}")
        header = done.stdout
        if os.stat(header).st_mode & 0o077:
            raise RuntimeError(f"{header} can be read by others")
        self.plain["SETTLE_ADMIN_HEADER"] = header

    def write(self, name, text):
        path = pathlib.Path(self.dir, name)
        path.write_text(text)
        path.chmod(0o600)

    def start(self, **settings):
        """The gateway, with these settings from the environment, up and connected."""
        self.env |= settings
        self.run("systemctl", "start", "settle-gateway")
        self.until(lambda: self.status("/readyz") == 200, "the gateway is ready")

    def stop_loads(self):
        for halt in self.loads:
            halt.set()
        self.loads = []

    def stop(self):
        self.stop_loads()
        pid = self.pid()
        if pid:
            self.run("systemctl", "stop", "settle-gateway", check=False)
            os.unlink(f"{self.dir}/gateway/pid")

    def kill(self):
        """The gateway with all its processes, at once."""
        for pid in [self.pid(), *(pid for role in ROLES for pid in self.children(role))]:
            os.kill(pid, signal.SIGKILL)
        self.until(lambda: name_of(self.pid()) is None, "it is gone")

    def pid(self):
        path = pathlib.Path(self.dir, "gateway/pid")
        return int(path.read_text()) if path.exists() else 0

    def children(self, role):
        """The gateway's processes of this role."""
        pids = pathlib.Path(f"/proc/{self.pid()}/task/{self.pid()}/children").read_text().split()
        return [int(pid) for pid in pids if name_of(pid) == role]

    def run(self, *command, check=True):
        done = subprocess.run([str(word) for word in command], env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=self.listeners)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}: {done.stdout}")
        return done.stdout

    def server(self, name, how):
        self.run(top / "ops/servers", "signal", self.dir, name, how)

    def sql(self, *texts):
        """Each a transaction of its own."""
        words = [word for text in texts for word in ("-c", text)]
        return self.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", *words, self.env["SETTLE_DATABASE_URL"])

    def redis(self, *words):
        return self.run("redis-cli", "-s", self.env["SETTLE_REDIS_URL"].removeprefix("unix://"), *words)

    def post(self, body=None, platform="instagram", secret=None):
        """One webhook, signed; returns the status of its answer."""
        body = body or f'{{"external_post_id":"post-{time.monotonic_ns()}","status":"published"}}'
        body = body.encode() if isinstance(body, str) else body
        secret = secret or f"{platform}-secret-of-the-tests"
        headers = {"content-type": "application/json",
                   "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
        return self.request("SETTLE_INGEST_URL", "POST", f"/publishing/webhooks/{platform}", body, headers)

    def request(self, listener, method, path, body=None, headers=None):
        to = http.client.HTTPConnection(urllib.parse.urlsplit(self.env[listener]).netloc, timeout=10)
        headers = dict(headers or {})
        if listener == "SETTLE_ADMIN_URL":
            name, _, value = pathlib.Path(self.env["SETTLE_ADMIN_HEADER"]).read_text().strip().partition(": ")
            headers[name] = value
        to.request(method, path, body, headers)
        answer = to.getresponse()
        answer.read()
        to.close()
        return answer.status

    def status(self, path):
        return self.request("SETTLE_MONITOR_URL", "GET", path)

    def metric(self, series):
        text = self.run("curl", "-s", self.env["SETTLE_MONITOR_URL"] + "/metrics")
        found = re.search("^" + re.escape(series) + " (.*)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def load(self, senders, once=None):
        """Webhooks from so many senders at once, until stopped."""
        halt = threading.Event()
        self.loads.append(halt)
        for _ in range(senders):
            threading.Thread(target=send_until, args=(halt, once or self.post), daemon=True).start()
        return halt

    def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited in vain until {what}")
            time.sleep(0.02)

    def small_disk(self, folder, megabytes):
        """A file system that can be filled, in place of an empty folder."""
        pathlib.Path(folder).mkdir(exist_ok=True)
        if not shutil.which("mount") or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "settle-test", folder],
                                                        stderr=subprocess.DEVNULL).returncode != 0:
            raise Skip("mounting is forbidden here")

    def unmount(self):
        for line in pathlib.Path("/proc/mounts").read_text().splitlines():
            if line.split()[1].startswith(self.dir + "/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=True)

    def log(self):
        path = pathlib.Path(self.dir, "gateway/log")
        return path.read_text(errors="replace") if path.exists() else ""

    def log_end(self):
        return "the end of the gateway's log:\n" + self.log()[-4000:]


def name_of(pid):
    """None: gone, or a zombie."""
    try:
        words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        return words[0].partition("(")[2] if words[2].split()[0] != "Z" else None
    except OSError:
        return None


def send_until(halt, once):
    while not halt.is_set():
        try:
            once()
        except OSError:
            time.sleep(0.05)
        except http.client.HTTPException:
            pass
