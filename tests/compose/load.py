"""Puts load on the fleet of docker-compose.yml, mints and revokes meanwhile, and says what held.

wrk asks through the one address with a key that stays. Beside it keys are minted and revoked
through the admin node, one after the other; each is asked for all the while, on the one address
and on every gateway, and at once after both answers. A request counts by the moment it began.
"""

import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time

ADMIN = os.environ["ADMIN"]
DOOR = os.environ["ONE_ADDRESS"]
DOORS = [DOOR, *os.environ["GATEWAYS"].split()]
SECONDS = float(os.environ.get("LOAD_SECONDS", "30"))
CONNECTIONS = 32
PATH = "/v3/contacts"
# Between two requests of a watcher, and how long a revoked key is still asked for.
PAUSE, AFTERWARDS = 0.005, 1.0
# All of these and nothing else is an answer that was to be expected.
LET_IN, REFUSED = 200, 401


class Peer:
    """A connection that is made again when it is lost."""

    def __init__(self, address):
        self.address = address
        self.connection = None

    def ask(self, method, path, headers, body=None):
        """The status and the body; None and why where there was no answer."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.address, timeout=10)
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as fault:
            self.connection = None
            return None, repr(fault).encode()


class Operator:
    """Who mints and revokes through the admin node."""

    def __init__(self):
        with open(os.environ["ADMIN_TOKEN_FILE"], encoding="ascii") as file:
            token = file.read().strip()
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self.peer = Peer(ADMIN)

    def call(self, method, path, body=None):
        """The status, the document, when it was sent and when it was answered."""
        sent = time.monotonic()
        status, text = self.peer.ask(method, path, self.headers, body and json.dumps(body))
        answered = time.monotonic()
        try:
            return status, json.loads(text), sent, answered
        except ValueError:
            return status, {"detail": text.decode(errors="replace")}, sent, answered


class Key:
    """A key, and when what happened to it. Nothing is known before its mint was answered."""

    def __init__(self, document, answered):
        self.id, self.plaintext = document["id"], document["key"]
        self.minted = answered
        self.revoking = self.revoked = None


class Notes:
    """What was asked and answered, by everyone."""

    def __init__(self):
        self.lock = threading.Lock()
        self.watched = []
        self.requests = []  # key, when it began, when it ended, status, whether at once
        self.over = threading.Event()

    def ask(self, peer, key, at_once):
        began = time.monotonic()
        status, _body = peer.ask("GET", PATH, {"api-key": key.plaintext})
        self.requests.append((key, began, time.monotonic(), status, at_once))

    def watch(self, door):
        """Asks at one door with every key that lives or has just died, until all is over."""
        peer = Peer(door)
        while not self.over.is_set():
            with self.lock:
                watched = list(self.watched)
            for key in watched:
                self.ask(peer, key, at_once=False)
            time.sleep(PAUSE)


class Changes:
    """The mints and revocations."""

    def __init__(self):
        self.mints, self.revocations = [], []
        self.incomplete, self.failed, self.receipts = 0, [], {}

    def mint(self, operator):
        status, document, sent, answered = operator.call("POST", "/v1/keys", {"name": "load"})
        if status != 201 or not document["propagation"]["complete"]:
            self.failed.append(f"mint: {status} {document}")
            return None
        self.mints.append(answered - sent)
        return Key(document, answered)

    def revoke(self, operator, key):
        status, document, key.revoking, answered = operator.call("DELETE", f"/v1/keys/{key.id}")
        if status not in (200, 202):
            self.failed.append(f"revocation: {status} {document}")
            return
        propagation = document["propagation"]
        if status == 202 or not propagation["complete"]:
            self.incomplete += 1
            return
        self.revocations.append(answered - key.revoking)
        for gateway in propagation["gateways"]:
            of = self.receipts.setdefault(gateway["name"], {})
            of[gateway["state"]] = of.get(gateway["state"], 0) + 1
        key.revoked = answered


def live_and_die(operator, peers, notes, changes):
    """One key after the other until the time is over."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        key = changes.mint(operator)
        if key is None:
            continue
        for peer in peers:
            notes.ask(peer, key, at_once=True)
        now = time.monotonic()
        with notes.lock:
            old = lambda it: it.revoking is not None and now - it.revoking > AFTERWARDS
            notes.watched = [it for it in notes.watched if not old(it)] + [key]
        time.sleep(random.uniform(0, 0.1))
        changes.revoke(operator, key)
        for peer in peers:
            notes.ask(peer, key, at_once=True)


def wrk(key):
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS:.0f}s", "--latency", "--timeout", "5s"]
    command += ["-H", f"api-key: {key.plaintext}", f"http://{DOOR}{PATH}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def load_report(said):
    """The lines about wrk's load, and how many requests were not let in."""
    number = lambda pattern: int((re.search(pattern, said) or [0, 0])[1])
    requests = number(r"(\d+) requests in")
    refused = number(r"Non-2xx or 3xx responses: (\d+)")
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    broken = sum(map(int, broken.groups())) if broken else 0
    if not requests:
        sys.exit(f"wrk did not put load on {DOOR}:\n{said}")
    late = dict(re.findall(r"(50|99)%\s+(\S+)", said))
    lines = [
        f"load       {requests} requests in {SECONDS:.0f} s over {CONNECTIONS} connections to {DOOR},"
        f" {requests / SECONDS:.0f}/s, p50 {late.get('50')}, p99 {late.get('99')}",
        f"           not let in: {refused}, broken connections and time-outs: {broken}",
    ]
    return lines, refused + broken


def quantiles(times):
    """p50 and p99 in milliseconds."""
    ranked = sorted(times)
    of = lambda share: ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1000
    return f"{len(ranked)}, p50 {of(0.5):.1f} ms, p99 {of(0.99):.1f} ms" if ranked else "none"


def judge(requests):
    """The lines about what was asked and answered, and how much of it should not be."""
    fresh = [it for it in requests if it[4] and (it[0].revoking is None or it[1] < it[0].revoking)]
    after = [it for it in requests if it[0].revoked is not None and it[1] >= it[0].revoked]
    valid = [it for it in requests if it[0].revoking is None or it[2] < it[0].revoking]
    let_in_after = sum(it[3] == LET_IN for it in after)
    fresh_not = sum(it[3] != LET_IN for it in fresh)
    valid_not = sum(it[3] == REFUSED for it in valid)
    others = [it[3] for it in requests if it[3] not in (LET_IN, REFUSED)]
    lines = [
        f"fresh      asked {len(fresh)} times at once after the mint, at every door: not let in: {fresh_not}",
        f"R1         {let_in_after} let in of {len(after)} that began after a complete answer",
        f"R3         {valid_not} refused of {len(valid)} with a valid key",
        f"watchers   {len(requests)} requests, neither let in nor refused: {len(others)} {sorted(set(map(str, others)))}",
    ]
    return lines, let_in_after + fresh_not + valid_not + len(others), bool(fresh and after)


def ready(operator):
    """Waits until the admin node mints completely and every door lets in what it minted."""
    changes, peers, end = Changes(), [Peer(it) for it in DOORS], time.monotonic() + 60
    while time.monotonic() < end:
        key = changes.mint(operator)
        if key and all(it.ask("GET", PATH, {"api-key": key.plaintext})[0] == LET_IN for it in peers):
            return key
        time.sleep(1)
    return sys.exit(f"the fleet does not get ready: {changes.failed[-1:]}")


def main():
    operator, notes, changes = Operator(), Notes(), Changes()
    stays = ready(operator)
    watchers = [threading.Thread(target=notes.watch, args=(door,), daemon=True) for door in DOORS]
    load = wrk(stays)
    for it in watchers:
        it.start()
    live_and_die(operator, [Peer(it) for it in DOORS], notes, changes)
    said = load.communicate()[0]
    notes.over.set()
    for it in watchers:
        it.join()
    changes.revoke(operator, stays)

    lines, lost = load_report(said)
    judged, wrong, is_telling = judge(notes.requests)
    receipts = ", ".join(
        f"{name} " + " ".join(f"{count} {state}" for state, count in sorted(of.items()))
        for name, of in sorted(changes.receipts.items())
    )
    lines += [
        f"mints      {quantiles(changes.mints)}",
        f"revoked    {quantiles(changes.revocations)}; incomplete: {changes.incomplete}",
        f"receipts   {receipts}",
        *judged,
        f"failed     {len(changes.failed)} mints and revocations {changes.failed[:1] or ''}",
    ]
    print("\n".join(lines))
    held = is_telling and not (lost or wrong or changes.incomplete or changes.failed)
    print("Everything held." if held else "NOT everything held.")
    sys.exit(0 if held else 1)


main()
