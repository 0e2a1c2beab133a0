#!/usr/bin/env python3
"""cross_version.py - two versions of the program over one broker, one after the other.

    cross_version.py OLD_BINARY NEW_BINARY

First OLD writes a registry and streams with a record of every kind and is killed; NEW starts over the
same broker, must show the same modules (but for members that only one of the versions knows) and failed webhooks, and deliver what is parked and pending. Then
the same with the versions exchanged. Needs a nats-server (`NATS_SERVER`, or the one of `make tools`). Exit
status 0 if nothing is lost or different.
"""
import sys

from stored_formats import in_world
from stored_world import Difference


def handed_over(writer, reader):
    """The events that `reader` matched, after `writer` wrote everything."""
    return in_world(lambda world: world.check(reader, world.write(writer), is_other_release=True))


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    old, new = sys.argv[1:]
    status = 0
    for name, writer, reader in (("old -> new", old, new), ("new -> old", new, old)):
        try:
            probe = handed_over(writer, reader)
            print(f"{name}: every parked and pending delivery arrived, {len(probe)} of pending events")
        except (Difference, TimeoutError) as error:
            status = 1
            print(f"{name}: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
