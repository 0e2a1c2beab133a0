#!/usr/bin/env python3
"""stored_formats.py - the stored formats of the registry and the streams, as files and as a test.

    stored_formats.py dump BINARY FOLDER    write the files: what BINARY stores, and what it shows of it
    stored_formats.py read BINARY FOLDER    load the files into an empty broker; BINARY must show the same
                                            modules, match the same events and make every parked delivery
    stored_formats.py write BINARY FOLDER   make the same requests of BINARY; what it stores must have the
                                            form of the files, byte by byte apart from times, ids and secrets

FOLDER is tests/data/stored. Needs a nats-server (`NATS_SERVER`, or the one of `make tools`). Exit status 0
if nothing differs.
"""
import json
import pathlib
import sys
import tempfile

from harness import Sink, broker
from stored_world import STREAMS, Difference, World, form_differences


def in_world(action):
    with tempfile.TemporaryDirectory() as folder, Sink() as sink, broker(folder) as nats_port:
        return action(World(nats_port, sink, pathlib.Path(folder) / "router"))


def written(binary):
    """What a version shows and stores."""
    def action(world):
        return world.write(binary), world.dump()
    return in_world(action)


def dump(binary, folder):
    expected, records = written(binary)
    expected["probe"] = in_world(lambda world: (world.load(binary, records), world.check(binary, expected))[1])
    folder.mkdir(parents=True, exist_ok=True)
    for stream in STREAMS:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records[stream]]
        (folder / f"{stream}.ndjson").write_text("".join(lines), encoding="utf-8")
    text = json.dumps(expected, indent=1, ensure_ascii=False, sort_keys=True)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")
    print(", ".join(f"{stream}: {len(records[stream])}" for stream in STREAMS))


def load(folder):
    records = {}
    for stream in STREAMS:
        lines = (folder / f"{stream}.ndjson").read_text(encoding="utf-8").splitlines()
        records[stream] = [json.loads(line) for line in lines]
    return json.loads((folder / "expected.json").read_text(encoding="utf-8")), records


def read(binary, folder):
    expected, records = load(folder)

    def action(world):
        world.load(binary, records)
        probe = world.check(binary, expected)
        if probe != expected["probe"]:
            raise Difference(f"the events matched: expected {expected['probe']}, found {probe}")
    in_world(action)
    print(f"read: {sum(map(len, records.values()))} records")


def write(binary, folder):
    _, records = load(folder)
    _, found = written(binary)
    different = list(form_differences(records, found))
    if different:
        raise Difference("stored records (- of the files, + of this program):\n" + "\n".join(different))
    print(f"written: {sum(map(len, found.values()))} records, none of another form")


def main():
    commands = {"dump": dump, "read": read, "write": write}
    if len(sys.argv) != 4 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        commands[sys.argv[1]](sys.argv[2], pathlib.Path(sys.argv[3]))
    except Difference as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
