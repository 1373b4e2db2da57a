"""A client of the state server, with plain sockets: `state.py PORT PASSWORD`.

Does what its page shows: root makes two users and a board, ann writes, bob watches. It ends with 0
if all is as it must be.
"""

import json
import socket
import sys
from collections import deque


class Refused(Exception):
    """The daemon has answered `err`; `code` is for programs."""

    def __init__(self, error):
        super().__init__(f"{error['command']}: {error['message']}")
        self.code = error["code"]


class State:
    """A connection. A packet is a line, `name [arguments]`; each gets one reply, in order."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.events = deque()

    def call(self, name, *args):
        self.socket.sendall(f"{name} {json.dumps(args)}\n".encode())
        while True:
            reply, args = self._packet()
            if reply in ("event", "end"):
                self.events.append((reply, args))
            elif reply == "err":
                raise Refused(args[0])
            else:
                return args[0] if args else None

    def next_event(self):
        """The next change that is told, or message; waits for it."""
        name, args = self.events.popleft() if self.events else self._packet()
        assert name == "event", (name, args)
        return args[1]

    def _packet(self):
        line = self.lines.readline()
        if not line:
            raise ConnectionError("the daemon has closed")
        name, _, args = line.partition(" ")
        return name, json.loads(args)


def refused(code, call, *args):
    try:
        answer = call(*args)
    except Refused as refusal:
        assert refusal.code == code, refusal
    else:
        raise AssertionError(f"{args} is answered {answer}")


def main(port, password):
    root, ann, bob = (State(port) for _ in range(3))
    assert root.call("auth", "root", password)["level"] == 0
    for user in ("ann", "bob"):
        root.call("createUser", user, f"a secret of {user}")
    root.call("create", [], "board", {"title": "Tuesday", "notes": {}})
    root.call("updatePerms", ["board"], "*", {"lvl": 2})
    root.call("updatePerms", ["board", "notes"], "ann", {"lvl": 3})

    bob.call("auth", "bob", "a secret of bob")
    bob.call("subscribe", ["board", "**"])
    sync = bob.next_event()
    assert sync["sync"] and sync["value"]["title"] == "Tuesday"

    ann.call("auth", "ann", "a secret of ann")
    rev = ann.call("create", ["board", "notes"], "milk", {"litres": 2})["rev"]
    heard = bob.next_event()
    assert (heard["name"], heard["newObjName"], heard["src"]) == ("create", "milk", "ann")
    assert heard["rev"] == rev
    refused("denied", bob.call, "update", ["board", "notes", "milk", "litres"], 3)
    refused("conflict", ann.call, "update", ["board", "notes", "milk"], 3, {"ifRev": rev - 1})
    ann.call("update", ["board", "notes", "milk", "litres"], "zwölf ☕", {"ifRev": rev})
    assert bob.next_event()["value"] == "zwölf ☕"

    ann.call("updatePerms", ["board", "notes", "milk"], "*", {"lvl": 1})
    hidden = bob.next_event()
    assert (hidden["name"], hidden["reason"]) == ("delete", "perms")
    refused("not-found", bob.call, "get", ["board", "notes", "milk"])
    assert ann.call("emit", "bob", "shopping", {"when": "now"})["delivered"] == 1
    assert bob.next_event()["payload"] == {"when": "now"}
    for user in ("ann", "bob"):
        root.call("deleteUser", user)
    root.call("delete", ["board"])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
