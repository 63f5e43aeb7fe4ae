#!/usr/bin/env bash
# Bare loopback, a file on tmpfs, separate processes: swarmcast beside other ways to bring a file to other machines.
#
# What is measured: from the start of the receivers until the last has all of it, verified as the program itself does it
# (curl verifies nothing). Each copy is compared with the file afterwards, outside the time. The contestants take turns,
# so that what else the machine does meets all of them. It says nothing about networks, whose rates and losses decide there.
#
# It installs nothing: what is missing is skipped and named. Needs Linux (/proc), python3 and a built swarmcast.
#
#   benches/peers.sh [single|fanout] [NAME…]      single: one receiver of 1 GiB; fanout: four at once of 256 MiB
#   SIZE=268435456 RUNS=3 TIMEOUT=30 SWARMCAST=path/to/swarmcast benches/peers.sh single swarmcast nginx
set -euo pipefail

mode=${1:-single}
[ $# -eq 0 ] || shift
case $mode in
    single) receivers=1 size=${SIZE:-$((1 << 30))} all=(swarmcast nginx http.server aria2c libtorrent-tcp libtorrent-utp) ;;
    fanout) receivers=4 size=${SIZE:-$((1 << 28))} all=(swarmcast nginx aria2c libtorrent-tcp) ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \?//;p}' "$0"; exit 2 ;;
esac
runs=${RUNS:-5} timeout=${TIMEOUT:-60}
[ $# -eq 0 ] || all=("$@")
command -v python3 >/dev/null || { echo "python3 is missing: it takes the measurements" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
swarmcast=${SWARMCAST:-$root/target/release/swarmcast}
dir=$(mktemp -d "${SHM:-/dev/shm}/swarmcast-peers.XXXXXX")
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/source" "$dir/nginx"

# ---------------------------------------------------------------- what each contestant needs

# One run: starts the source, waits until it is ready, has the receivers race, and prints a line of figures.
cat >"$dir/measure.py" <<'PYTHON'
"""measure.py NAME RECEIVERS TIMEOUT PROCESS READY SOURCE RECEIVER FILE OUTPUT

READY is `port:N` (the source accepts connections there) or a pattern that a line of the source's output has; its group
replaces {0} in RECEIVER. {i} is the receiver's number. A receiver that first prints READY is given a line when the time
begins, and its time ends when it prints DONE: its interpreter's start is not the transfer's. Of the source, processes
called PROCESS count. Memory is anonymous memory: pages of a mapped file are the page cache's.
"""
import os, re, shlex, signal, socket, subprocess, sys, threading, time

name, receivers, patience, process, ready, source, receiver, original, output = sys.argv[1:]
receivers, patience = int(receivers), float(patience)
TICK = os.sysconf("SC_CLK_TCK")

def tree(pid):
    found = [pid]
    for parent in found:
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as children:
                found += map(int, children.read().split())
        except OSError:
            pass
    return found

def counted(pid, only):
    """The processes below `pid` that count, with their CPU time in seconds and their memory in KiB."""
    for member in tree(pid):
        try:
            with open(f"/proc/{member}/stat") as file:
                comm, rest = re.match(r"\d+ \((.*)\) (.*)", file.read(), re.S).groups()
            if only and only not in comm:
                continue
            fields = rest.split()
            with open(f"/proc/{member}/status") as file:
                memory = re.search(r"RssAnon:\s*(\d+)", file.read())
            yield (int(fields[11]) + int(fields[12])) / TICK, int(memory[1]) if memory else 0
        except OSError:
            pass

def cpu(pid, only):
    return sum(seconds for seconds, _ in counted(pid, only))

class Peaks(threading.Thread):
    """The most that each of some process trees held at a time, KiB."""
    def __init__(self, watched):
        super().__init__(daemon=True)
        self.watched, self.peaks, self.over = watched, [0] * len(watched), threading.Event()
    def run(self):
        while not self.over.wait(0.04):
            for n, (pid, only) in enumerate(self.watched):
                self.peaks[n] = max(self.peaks[n], sum(memory for _, memory in counted(pid, only)))

def fail(why):
    print(f"{name}\tfailed\t{why}", flush=True)
    os.killpg(serving.pid, signal.SIGKILL)
    sys.exit(0)

def await_source():
    if ready.startswith("port:"):
        until = time.monotonic() + 10
        while time.monotonic() < until and serving.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", int(ready[5:])), 1).close()
                return ""
            except OSError:
                time.sleep(0.01)
        fail("the source doesn't listen")
    for line in serving.stdout:
        if found := re.search(ready, line):
            # Whatever else it says must not block it.
            threading.Thread(target=lambda: [None for _ in serving.stdout], daemon=True).start()
            return found.group(found.lastindex or 0)
    fail("the source isn't ready")

outputs = [output.replace("{i}", str(i)) for i in range(receivers)]
for path in outputs:
    if os.path.exists(path):
        os.unlink(path)
serving = subprocess.Popen(shlex.split(source), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           stdin=subprocess.DEVNULL, text=True, start_new_session=True)
told = await_source()
commands = [shlex.split(receiver.replace("{0}", told).replace("{i}", str(i))) for i in range(receivers)]
warm = "--warm" in commands[0]
start = lambda command: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.DEVNULL, text=True, start_new_session=True)
before_source = cpu(serving.pid, process)
if warm:
    racing = [start(command) for command in commands]
    for one in racing:
        one.stdout.readline()
    before = [cpu(one.pid, "") for one in racing]
begin = time.monotonic()
if warm:
    for one in racing:
        print(file=one.stdin, flush=True)
else:
    racing = [start(command) for command in commands]
    before = [0.0] * receivers
peaks = Peaks([(serving.pid, process)] + [(one.pid, "") for one in racing])
peaks.start()
alarm = threading.Timer(patience, lambda: [os.killpg(one.pid, signal.SIGKILL) for one in racing])
alarm.start()
said, ends, own = [""] * receivers, [0.0] * receivers, [0.0] * receivers
def watch(i):
    for line in racing[i].stdout:
        said[i] += line
        if warm and line == "DONE\n":
            break
    if not warm:
        _, status, usage = os.wait4(racing[i].pid, 0)
        racing[i].returncode = os.waitstatus_to_exitcode(status)
        own[i] = usage.ru_utime + usage.ru_stime
    else:
        own[i] = cpu(racing[i].pid, "")
    ends[i] = time.monotonic()
watchers = [threading.Thread(target=watch, args=(i,)) for i in range(receivers)]
for watcher in watchers:
    watcher.start()
for watcher in watchers:
    watcher.join()
seconds = max(ends) - begin
source_cpu = cpu(serving.pid, process) - before_source
peaks.over.set()
alarm.cancel()
if not warm and any(one.returncode for one in racing):
    fail(f"time-out after {patience:g} s" if seconds >= patience else "a receiver failed")
if warm and any("DONE\n" not in text for text in said):
    fail(f"time-out after {patience:g} s" if seconds >= patience else "a receiver failed")
for path in outputs:
    if subprocess.run(["cmp", "-s", original, path]).returncode:
        fail("a copy differs")
for one in racing:
    if warm:
        one.kill()
        one.wait()
os.killpg(serving.pid, signal.SIGTERM)
try:
    serving.wait(5)
except subprocess.TimeoutExpired:
    os.killpg(serving.pid, signal.SIGKILL)
mib = [peak / 1024 for peak in peaks.peaks]
print(name, f"{seconds:.4f}", f"{source_cpu:.3f}", f"{sum(own) - sum(before):.3f}", f"{mib[0]:.1f}", f"{max(mib[1:]):.1f}",
      sep="\t", flush=True)
PYTHON

# A BitTorrent metafile with SHA-1 of 1 MiB pieces.
cat >"$dir/torrent.py" <<'PYTHON'
import hashlib, os, sys
path, target, tracker = sys.argv[1:]
def bencode(value):
    if isinstance(value, int): return b"i%de" % value
    if isinstance(value, str): value = value.encode()
    if isinstance(value, bytes): return b"%d:%s" % (len(value), value)
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
with open(path, "rb") as file:
    pieces = b"".join(hashlib.sha1(piece).digest() for piece in iter(lambda: file.read(1 << 20), b""))
info = {"length": os.path.getsize(path), "name": os.path.basename(path), "piece length": 1 << 20, "pieces": pieces}
with open(target, "wb") as file:
    file.write(bencode({"announce": tracker, "info": info}))
PYTHON

# libtorrent: `seed` prints its port; `get` waits for a line, and its time ends when libtorrent has verified everything.
cat >"$dir/lt.py" <<'PYTHON'
import sys
import libtorrent as lt
role, transport, torrent, folder, peer = sys.argv[1:6]
utp = transport == "utp"
session = lt.session({
    "listen_interfaces": "127.0.0.1:0", "alert_mask": lt.alert.category_t.status_notification,
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_incoming_utp": utp, "enable_outgoing_utp": utp, "enable_incoming_tcp": not utp, "enable_outgoing_tcp": not utp,
    "allow_multiple_connections_per_ip": True, "in_enc_policy": 2, "out_enc_policy": 2, "close_redundant_connections": False,
    # With the default socket buffers uTP stalls here: the kernel drops what a busy core doesn't fetch in time.
    "recv_socket_buffer_size": 4 << 20, "send_socket_buffer_size": 4 << 20,
})
parameters = lt.add_torrent_params()
parameters.ti, parameters.save_path = lt.torrent_info(torrent), folder
if role == "seed":
    parameters.flags |= lt.torrent_flags.seed_mode
parameters.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
if role == "get":
    print("READY", flush=True)
    sys.stdin.readline()
handle = session.add_torrent(parameters)
if role == "get":
    handle.connect_peer(("127.0.0.1", int(peer)))
else:
    print("port", session.listen_port(), flush=True)
while True:
    session.wait_for_alert(1000)
    if any(isinstance(alert, lt.torrent_finished_alert) for alert in session.pop_alerts()) and role == "get":
        # Its last pieces are still on their way to the file when they have been verified.
        handle.flush_cache()
        while not any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts()):
            session.wait_for_alert(1000)
        print("DONE", flush=True)
PYTHON

# A tracker of one torrent and, below it, the first who has it: aria2c can't be given a peer's address. Says READY once that
# one has announced itself.
cat >"$dir/tracker.py" <<'PYTHON'
import http.server, subprocess, sys, urllib.parse
peers = {}
class Announce(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, encoding="latin-1")
        port = int(query["port"][0])
        others = b"".join(peer for at, peer in peers.items() if at != port)
        if query.get("event") != ["stopped"]:
            peers[port] = bytes([127, 0, 0, 1]) + port.to_bytes(2, "big")
        body = b"d8:intervali60e5:peers%d:%se" % (len(others), others)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if query.get("left") == ["0"]:
            print("READY", flush=True)
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Announce)
subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
server.serve_forever()
PYTHON

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# ---------------------------------------------------------------- the contestants

# Why a contestant can't take part; nothing if it can.
missing() {
    case $1 in
        swarmcast) [ -x "$swarmcast" ] || echo "$swarmcast is missing: cargo build --release" ;;
        nginx) command -v nginx curl >/dev/null && nginx -v 2>/dev/null || echo "nginx or curl is missing" ;;
        http.server) command -v curl >/dev/null || echo "curl is missing" ;;
        aria2c) command -v aria2c >/dev/null || echo "aria2c is missing" ;;
        libtorrent-*) python3 -c 'import libtorrent' 2>/dev/null || echo "python's libtorrent is missing" ;;
        *) echo "no such contestant: ${all[*]}" ;;
    esac
}

# One run of a contestant: its line of figures.
measure() {
    local port
    port=$(free_port)
    local run=(python3 "$dir/measure.py" "$1" "$receivers" "$timeout")
    local file=$dir/source/file
    case $1 in
        swarmcast)
            "${run[@]}" "" '^(swarmcast1:\S+)' "$swarmcast share $file" \
                "$swarmcast get -q {0} -o $dir/got-{i}" "$file" "$dir/got-{i}" ;;
        nginx)
            cat >"$dir/nginx/conf" <<CONF
daemon off; pid $dir/nginx/pid; error_log $dir/nginx/error; worker_processes auto;
$([ "$(id -u)" -ne 0 ] || echo "user root;")
events {}
http {
    access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
    client_body_temp_path $dir/nginx; proxy_temp_path $dir/nginx; fastcgi_temp_path $dir/nginx;
    uwsgi_temp_path $dir/nginx; scgi_temp_path $dir/nginx;
    server { listen 127.0.0.1:$port; root $dir/source; }
}
CONF
            "${run[@]}" nginx "port:$port" "nginx -e $dir/nginx/error -c $dir/nginx/conf" \
                "curl -sf -o $dir/got-{i} http://127.0.0.1:$port/file" "$file" "$dir/got-{i}" ;;
        http.server)
            "${run[@]}" "" "port:$port" \
                "python3 -m http.server $port --bind 127.0.0.1 --directory $dir/source" \
                "curl -sf -o $dir/got-{i} http://127.0.0.1:$port/file" "$file" "$dir/got-{i}" ;;
        aria2c)
            local quiet="--no-conf --quiet --enable-dht=false --bt-enable-lpd=false --file-allocation=none"
            rm -rf "$dir"/got-*-folder "$dir"/*.aria2
            python3 "$dir/torrent.py" "$file" "$dir/torrent" "http://127.0.0.1:$port/announce"
            "${run[@]}" aria2c READY \
                "python3 $dir/tracker.py $port aria2c $quiet --bt-seed-unverified --seed-ratio=0 -d $dir/source $dir/torrent" \
                "aria2c $quiet --seed-time=0 --listen-port=$((port > 50000 ? port - 20000 : port + 5000))-65000 -d $dir/got-{i}-folder $dir/torrent" \
                "$file" "$dir/got-{i}-folder/file" ;;
        libtorrent-*)
            rm -rf "$dir"/got-*-folder
            python3 "$dir/torrent.py" "$file" "$dir/torrent" "http://127.0.0.1:1/announce"
            "${run[@]}" "" '^port (\d+)' "python3 $dir/lt.py seed ${1#*-} $dir/torrent $dir/source 0" \
                "python3 $dir/lt.py get ${1#*-} $dir/torrent $dir/got-{i}-folder {0} --warm" \
                "$file" "$dir/got-{i}-folder/file" ;;
    esac
    rm -rf "$dir"/got-*
}

# ---------------------------------------------------------------- the race

head -c "$size" /dev/urandom >"$dir/source/file"
present=()
for name in "${all[@]}"; do
    why=$(missing "$name")
    if [ -n "$why" ]; then echo "skipped $name: $why" >&2; else present+=("$name"); fi
done
[ ${#present[@]} -gt 0 ] || exit 1
for ((round = 1; round <= runs; round++)); do
    for name in "${present[@]}"; do
        # The slow and the broken are not waited for again.
        ! grep -q "^$name	failed" "$dir/figures" 2>/dev/null || continue
        measure "$name" | tee -a "$dir/figures" >&2
    done
done

python3 - "$dir/figures" "$size" "$receivers" "$runs" "${present[@]}" <<'PYTHON'
import statistics, sys
path, size, receivers, runs, *names = sys.argv[1:]
size, receivers = int(size), int(receivers)
with open(path) as file:
    rows = [line.rstrip("\n").split("\t") for line in file]
print(f"{size / 2**20:g} MiB on loopback to {receivers} receiver{'s' * (receivers > 1)}, median of {runs}; peaks of source / one receiver")
print(f"{'':<15} {'s':>7} {'min':>7} {'max':>7} {'MB/s':>7} {'CPU s, source + receivers':>27} {'peak MiB':>13}")
for name in names:
    own = [row[1:] for row in rows if row[0] == name]
    if bad := [row for row in own if row[0] == "failed"]:
        print(f"{name:<15} {bad[0][1]}")
        continue
    columns = [[float(cell) for cell in column] for column in zip(*own)]
    time, source, others = columns[0], *map(statistics.median, columns[1:3])
    middle = statistics.median(time)
    cpu = f"{source + others:.2f} = {source:.2f} + {others:.2f}"
    peak = f"{statistics.median(columns[3]):.0f} / {statistics.median(columns[4]):.0f}"
    print(f"{name:<15} {middle:>7.3f} {min(time):>7.3f} {max(time):>7.3f} {size * receivers / middle / 1e6:>7.0f} {cpu:>27} {peak:>13}")
PYTHON
