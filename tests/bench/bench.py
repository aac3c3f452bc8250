#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Benchmarks: what dovecot-modernauth costs, and how it compares with what Dovecot can do without it.

usage: bench.py --build DIRECTORY [--disk DIRECTORY] [--rounds N] [--secs S] [--json FILE] [SCENARIO]...

Scenarios: hits durable imap cold first2000 storm wrong hang memory micro (default: all). See README.md. Runs as root, since it
starts Dovecot. The passdb must be installed (Dovecot loads it from its own directory); the broker and the login plugin
are those of the build directory. Everything listens on 127.0.0.1 and is ended by its pid.
"""

import argparse
import contextlib
import json
import os
import pwd
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CONF_D = os.path.join(HERE, "..", "..", "conf.d")
PASSDB = "/usr/lib/dovecot/modules/auth/libauthdb_modernauth.so"
TOKEN_SIZE = 2000
PASSWORD = "secret"

COMMON = """# generated
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
instance_name = {name}
listen = 127.0.0.1
hostname = front.test
ssl = yes
ssl_cert = <{cert}
ssl_key = <{cert}
ssl_ca = <{cert}
ssl_require_crl = no
disable_plaintext_auth = no
auth_failure_delay = 0
auth_mechanisms = plain login
default_client_limit = 16384
default_vsz_limit = 4 G
# The benchmark's clients all come from one address.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 16384
  unix_listener login/perf-login {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocols = imap
service imap-login {{
  service_count = 0
  process_min_avail = 2
  process_limit = 2
  client_limit = 8000
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""

STATIC = """passdb {{
  driver = static
  args = password={password} proxy=y host=127.0.0.1 port={exo_port} ssl=yes proxy_mech=xoauth2 proxy_nopipelining=y pass={token}
}}
"""

MODERNAUTH_CONF = """state_dir = "{dir}/lib"
cache_max = "{cache_max}"
audit {{
  path = "{dir}/audit/audit.jsonl"
  key_file = "{dir}/audit.key"
  durability = "{durability}"
}}
tenant "bench" {{
  domains = {{"bench.test"}}
  tenant_id = "bench.test"
  client_id = "00000000-0000-0000-0000-000000000001"
  authority = "https://localhost:{idp_port}"
  ca_file = "{cert}"
  imap = "imaps://127.0.0.1:{exo_port}"
}}
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def unlimited():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Tool:
    """A stand-in of ours, commanded over its standard input."""

    def __init__(self, path, *args):
        self.process = subprocess.Popen([path, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stats(self):
        self.say("stats")
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


class Dovecot:
    """One instance in a directory of its own."""

    def __init__(self, bench, name, kind, cache_max="1 GiB", durability="os"):
        self.bench, self.name = bench, name
        self.directory = os.path.join(bench.directory, name)
        self.imap_port = free_port()
        for sub in ("", "run", "state", "lib", "audit"):
            os.mkdir(os.path.join(self.directory, sub))
        os.chmod(self.directory, 0o755)
        values = {"dir": self.directory, "name": "bench-" + name, "cert": bench.cert, "imap_port": self.imap_port,
                  "exo_port": bench.exo.port, "idp_port": bench.idp.port, "password": PASSWORD,
                  "token": "A" * TOKEN_SIZE, "cache_max": cache_max, "durability": durability}
        text = COMMON.format(**values) + getattr(self, kind)(values)
        self.config = self.write("dovecot.conf", text)
        self.process = subprocess.Popen(["dovecot", "-F", "-c", self.config], preexec_fn=unlimited,
                                        start_new_session=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.auth_socket = os.path.join(self.directory, "run", "login", "perf-login")
        self.wait_ready()

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    @staticmethod
    def static(values):
        return STATIC.format(**values)

    def modernauth(self, values):
        user = pwd.getpwnam("modernauth")
        for sub in ("lib", "audit"):
            os.chown(os.path.join(self.directory, sub), user.pw_uid, user.pw_gid)
            os.chmod(os.path.join(self.directory, sub), 0o700)
        self.write("modernauth.conf", MODERNAUTH_CONF.format(**values))
        with open(os.path.join(CONF_D, "10-modernauth.conf"), encoding="utf-8") as file:
            shipped = file.read().replace("/etc/dovecot/modernauth.conf", self.directory + "/modernauth.conf")
        shipped = shipped.replace("/usr/lib/dovecot/modules/login", os.path.join(self.bench.build, "src", "login"))
        return shipped + ("service modernauth {\n  executable = %s -f %s/modernauth.conf\n  vsz_limit = 16 G\n}\n"
                          "ssl_ca = <%s\nssl = yes\n" % (os.path.join(self.bench.build, "src/broker/modernauth"),
                                                        self.directory, values["cert"]))

    def wait_ready(self):
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.imap_port), 5) as sock:
                if sock.recv(1) == b"*" and os.path.exists(self.auth_socket):
                    return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("%s does not start: %s" % (self.name, self.log()))
            time.sleep(0.05)

    def log(self):
        path = os.path.join(self.directory, "dovecot.log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()[-3000:]

    def processes(self):
        """pid -> name of what this instance runs."""
        found = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open("/proc/%s/stat" % entry, encoding="utf-8", errors="replace") as file:
                    name, _, rest = file.read().partition("(")[2].rpartition(")")
                if int(rest.split()[3]) == self.process.pid:
                    found[int(entry)] = name
        return found

    def cpu(self, only=None):
        """CPU microseconds of all its processes, or of those called only, so far."""
        total = 0
        for pid, name in self.processes().items():
            if only in (None, name):
                with contextlib.suppress(OSError), open("/proc/%d/schedstat" % pid, encoding="ascii") as file:
                    total += int(file.read().split()[0])
        return total / 1000

    def broker_rss(self):
        for pid, name in self.processes().items():
            if name == "modernauth":
                with open("/proc/%d/statm" % pid, encoding="ascii") as file:
                    return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        raise RuntimeError("no broker: " + self.log())

    def stop(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


class Bench:
    def __init__(self, args):
        self.build, self.rounds, self.secs = os.path.abspath(args.build), args.rounds, args.secs
        self.directory = tempfile.mkdtemp(prefix="ma-bench-", dir=args.disk)
        os.chmod(self.directory, 0o755)
        self.cert = os.path.join(self.directory, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", self.cert + ".key", "-out", self.cert, "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
        with open(self.cert, "a", encoding="ascii") as cert, open(self.cert + ".key", encoding="ascii") as key:
            cert.write(key.read())
        self.idp = Tool(self.tool("bench_idp"), self.cert, "token=%d" % TOKEN_SIZE)
        self.exo = Tool(self.tool("fakeexo"), self.cert)
        self.instances, self.results = {}, {}
        self.next_user = 1000000

    def tool(self, name):
        return os.path.join(self.build, "tests", "bench", name)

    def instance(self, name, kind=None, **options):
        if name not in self.instances:
            self.instances[name] = Dovecot(self, name, kind or name, **options)
        return self.instances[name]

    def drop(self, name):
        self.instances.pop(name).stop()

    def fresh_users(self, count):
        """Numbers that have never logged in."""
        self.next_user += count
        return self.next_user - count

    def authload(self, instance, *args, password=PASSWORD, wait=True):
        command = [self.tool("authload"), instance.auth_socket, "password=" + password, *args]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=unlimited)
        if not wait:
            return process
        return self.collect(process, instance)

    @staticmethod
    def collect(process, instance):
        out = process.communicate()[0]
        if process.returncode != 0:
            raise RuntimeError("authload failed: " + instance.log())
        return json.loads(out)

    def interleaved(self, instances, run):
        """label -> medians over the rounds of run(instance); CPU of all Dovecot processes per login."""
        found = {name: [] for name in instances}
        for _ in range(self.rounds):
            for name, instance in instances.items():
                before, broker = instance.cpu(), instance.cpu("modernauth")
                result = run(instance)
                done = max(1, result.get("sent", 0) or result["ok"])
                result["cpu_us"] = (instance.cpu() - before) / done
                result["broker_us"] = (instance.cpu("modernauth") - broker) / done
                found[name].append(result)
        return {name: {key: statistics.median(result[key] for result in results) for key in results[0]}
                for name, results in found.items()}

    def report(self, scenario, case, row, **columns):
        self.results.setdefault(scenario, []).append({"case": case, "what": row, **columns})
        print("%-10s %-22s %-12s %s" % (scenario, case, row, "  ".join(
            "%s %s" % (key, "%.1f" % value if isinstance(value, float) else value) for key, value in columns.items())),
            flush=True)

    def report_pair(self, scenario, case, medians, base, keys):
        for name, result in medians.items():
            ratio = result["rate"] / medians[base]["rate"] if medians[base]["rate"] else 0.0
            self.report(scenario, case, name, **{key: float(result[key]) for key in keys},
                        **{"of_" + base: round(ratio, 2)})

    # -- scenarios

    def hits(self):
        """Users who have a token against passdb static, at the auth socket."""
        pair = {"static": self.instance("static"), "ours": self.instance("ours", "modernauth")}
        self.idp.say("latency 0")
        for instance in pair.values():
            warm = self.authload(instance, "n=1000", "users=1000", "order=sequence", "c=50")
            assert warm["ok"] == 1000, (warm, instance.log())
        self.idp.stats()
        for concurrency in (1, 50, 500):
            medians = self.interleaved(pair, lambda instance, c=concurrency: self.authload(
                instance, "secs=%g" % self.secs, "users=1000", "c=%d" % c))
            self.report_pair("hits", "c=%d" % concurrency, medians, "static",
                             ("rate", "p50_us", "p99_us", "cpu_us", "broker_us"))
        self.report("hits", "token requests", "ours", count=self.idp.stats()["tokens"])

    def durable(self):
        """Users who have a token, whose records are on disk before they are answered, against those whose records are in the file
        only; and how long the disk takes for a sync of one record."""
        pair = {"os": self.instance("ours", "modernauth"),
                "group": self.instance("group", "modernauth", durability="group")}
        self.idp.say("latency 0")
        self.report("durable", "fdatasync of 1 KiB", "disk", ms=self.sync_msecs())
        for instance in pair.values():
            warm = self.authload(instance, "n=1000", "users=1000", "order=sequence", "c=50")
            assert warm["ok"] == 1000, (warm, instance.log())
        for concurrency in (1, 50, 500):
            medians = self.interleaved(pair, lambda instance, c=concurrency: self.authload(
                instance, "secs=%g" % self.secs, "users=1000", "c=%d" % c))
            self.report_pair("durable", "c=%d" % concurrency, medians, "os",
                             ("rate", "p50_us", "p99_us", "cpu_us", "broker_us"))

    def sync_msecs(self):
        """Median of a hundred."""
        path, found = os.path.join(self.directory, "probe"), []
        with open(path, "wb", buffering=0) as file:
            for _ in range(100):
                file.write(b"x" * 1024)
                started = time.monotonic()
                os.fdatasync(file.fileno())
                found.append((time.monotonic() - started) * 1000)
        os.unlink(path)
        return round(statistics.median(found), 2)

    def imap(self):
        """Whole logins: connect, LOGIN, proxied to the upstream over TLS, LOGOUT."""
        pair = {"static": self.instance("static"), "ours": self.instance("ours", "modernauth")}

        def run(instance, concurrency):
            out = subprocess.run([self.tool("imapload"), str(instance.imap_port), "secs=%g" % self.secs,
                                  "c=%d" % concurrency, "password=" + PASSWORD], stdout=subprocess.PIPE, text=True,
                                 check=True, preexec_fn=unlimited).stdout
            return json.loads(out)
        for instance in pair.values():
            assert self.authload(instance, "n=1000", "users=1000", "order=sequence")["ok"] == 1000, instance.log()
        for concurrency in (1, 10, 50):
            medians = self.interleaved(pair, lambda instance, c=concurrency: run(instance, c))
            self.report_pair("imap", "c=%d" % concurrency, medians, "static",
                             ("rate", "p50_us", "p99_us", "cpu_us", "broker_us", "broken"))

    def cold(self):
        """Every login is another user's first one."""
        ours = self.instance("ours", "modernauth")
        for latency in (0, 50, 200):
            self.idp.say("latency %d" % latency)
            for concurrency in (50, 500, 2000):
                self.idp.stats()
                medians = self.interleaved({"ours": ours}, lambda instance, c=concurrency: self.authload(
                    instance, "secs=%g" % self.secs, "c=%d" % c, "order=sequence", "users=900000",
                    "first=%d" % self.fresh_users(1000000)))["ours"]
                self.report("cold", "%d ms c=%d" % (latency, concurrency), "ours", rate=float(medians["rate"]),
                            p50_us=float(medians["p50_us"]), p99_us=float(medians["p99_us"]),
                            cpu_us=float(medians["cpu_us"]), broker_us=float(medians["broker_us"]),
                            bad=medians["fail"] + medians["temp"] + medians["lost"])

    def first2000(self):
        """2,000 users at once: time until all are answered."""
        ours = self.instance("ours", "modernauth")
        for latency in (50, 200):
            self.idp.say("latency %d" % latency)
            for count in (1000, 2000):
                median = self.interleaved({"ours": ours}, lambda instance, n=count: self.authload(
                    instance, "n=%d" % n, "c=%d" % n, "order=sequence", "users=%d" % n,
                    "first=%d" % self.fresh_users(n)))["ours"]
                self.report("first2000", "%d ms n=%d" % (latency, count), "ours", seconds=float(median["seconds"]),
                            p99_us=float(median["p99_us"]), bad=median["fail"] + median["temp"] + median["lost"])

    def storm(self):
        """One user, 1,000 logins at once: how often is Entra asked?"""
        ours = self.instance("ours", "modernauth")
        self.idp.say("latency 200")
        self.idp.stats()
        result = self.authload(ours, "n=1000", "c=1000", "users=1", "first=%d" % self.fresh_users(1))
        self.report("storm", "1 user, 1000 at once", "ours", seconds=result["seconds"], ok=result["ok"],
                    token_requests=self.idp.stats()["requests"])

    def wrong(self):
        """Wrong passwords: what reaches Entra. Dovecot hands out refusals every 500 ms."""
        ours = self.instance("ours", "modernauth")
        self.idp.say("latency 50")
        cases = (("one user, one password", "victim1@bench.test", "wrong"),
                 ("one user, 1000 passwords", "victim2@bench.test", "wrong-%u"),
                 ("1000 users, one each", "victim-%u@bench.test", "wrong"))
        for case, user, password in cases:
            self.idp.stats()
            result = self.authload(ours, "n=1000", "c=1000", "users=1000", "order=sequence", "user=" + user,
                                   password=password)
            self.report("wrong", case, "ours", seconds=result["seconds"], refused=result["fail"], temp=result["temp"],
                        token_requests=self.idp.stats()["requests"])

    def hang(self):
        """The token endpoint hangs: do users with a token notice? They are measured alone, beside others' first logins that the
        endpoint answers, and beside the same logins while it hangs. Each time has an instance of its own: requests that time
        out open the breaker for those who come later."""
        self.idp.say("latency 0")
        found = {"undisturbed": [], "beside first logins": [], "hanging": []}
        for number in range(self.rounds):
            for case, results in found.items():
                name = "hang%d-%d" % (number, list(found).index(case))
                ours = self.instance(name, "modernauth")
                assert self.authload(ours, "n=500", "users=500", "order=sequence")["ok"] == 500
                if case == "hanging":
                    self.idp.say("hang 1")
                cold = None
                if case != "undisturbed":
                    cold = self.authload(ours, "secs=%g" % (self.secs + 3), "rate=300", "users=100000", "order=sequence",
                                         "first=%d" % self.fresh_users(100000), wait=False)
                # An outage lasts: the broker has noticed it by then.
                time.sleep(2)
                results.append(self.authload(ours, "secs=%g" % self.secs, "users=500", "rate=2000"))
                self.idp.say("hang 0")
                self.drop(name)
                if cold is not None:
                    cold.communicate()
        for case, results in found.items():
            self.report("hang", "warm, 2000/s", case, p50_us=float(statistics.median(r["p50_us"] for r in results)),
                        p99_us=float(statistics.median(r["p99_us"] for r in results)),
                        max_us=float(max(r["max_us"] for r in results)),
                        bad=sum(r["fail"] + r["temp"] for r in results))

    def memory(self):
        """Growth of the broker per user with a token."""
        count = 20000
        for size in (1000, 2000, 4000):
            idp, self.idp = self.idp, Tool(self.tool("bench_idp"), self.cert, "token=%d" % size)
            name = "memory%d" % size
            instance = self.instance(name, "modernauth")
            self.authload(instance, "n=2000", "c=200", "users=2000", "order=sequence")
            before = instance.broker_rss()
            result = self.authload(instance, "n=%d" % count, "c=200", "users=%d" % count, "order=sequence",
                                   "first=%d" % self.fresh_users(count))
            grown = instance.broker_rss() - before
            self.report("memory", "token %d" % size, "ours", octets_per_user=float(grown / max(1, result["ok"])),
                        users=result["ok"])
            self.drop(name)
            self.idp.stop()
            self.idp = idp

    def micro(self):
        """A hit in the core alone."""
        out = subprocess.run([self.tool("cachebench"), "1000", "100000", "1000000"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
        for line in out.splitlines():
            result = json.loads(line)
            self.report("micro", "%d entries" % result["entries"], "core", ns_per_hit=float(result["ns"]),
                        octets_per_entry=float(result["octets_per_entry"]))
        out = subprocess.run([self.tool("sidebench"), "200000"], stdout=subprocess.PIPE, text=True, check=True).stdout
        for line in out.splitlines():
            result = json.loads(line)
            self.report("micro", "map of %d" % result["entries"], "core", ns_per_decision=float(result["decision_ns"]),
                        load_ms=float(result["load_ms"]), stall_ms=float(result["longest_stall_ms"]))

    def close(self):
        for name in list(self.instances):
            self.drop(name)
        self.idp.stop()
        self.exo.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


SCENARIOS = ["hits", "durable", "imap", "cold", "first2000", "storm", "wrong", "hang", "memory", "micro"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    # Not below /tmp, which may be memory: what is measured has a disk.
    parser.add_argument("--disk", default="/var/tmp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=3)
    parser.add_argument("--json")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    args = parser.parse_args()
    unknown = set(args.scenarios) - set(SCENARIOS)
    if unknown or os.geteuid() != 0 or not os.path.exists(PASSDB):
        sys.exit("bench.py: " + ("no scenario " + ", ".join(unknown) if unknown else "run as root, with %s installed" %
                                 PASSDB))
    bench = Bench(args)
    try:
        for scenario in args.scenarios or SCENARIOS:
            getattr(bench, scenario)()
    finally:
        bench.close()
        if args.json:
            with open(args.json, "w", encoding="utf-8") as file:
                json.dump({"when": time.strftime("%Y-%m-%d %H:%M"), "rounds": args.rounds, "secs": args.secs,
                           "cpus": os.cpu_count(), "results": bench.results}, file, indent=1)


if __name__ == "__main__":
    main()
