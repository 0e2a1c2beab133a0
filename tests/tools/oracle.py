#!/usr/bin/env python3
"""Compares `switchyard match` with the generator's oracle, line by line.

    oracle.py --binary target/release/switchyard [--triggers 5000] [--events 20000] [--seeds 1,2,3]
              [--tenants 50] [--threads 2] [--invalid 24]

For each seed: generates triggers and events, lets the generator's own evaluator (without a parser)
write the expected matches and errors, runs `switchyard match`, compares every line, checks that
exactly the invalid registrations were rejected, and prints one line with the throughput.
Exit status 0 when nothing differs.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SHOWN_DIFFERENCES = 5


def generate(folder, options, seed):
    world = ["--seed", str(seed), "--tenants", str(options.tenants)]
    events, triggers, expected = (folder / name for name in ("events", "triggers", "expected"))
    with open(events, "wb") as out:
        subprocess.run([sys.executable, HERE / "gen_events.py", "--n", str(options.events), *world],
                       stdout=out, check=True)
    with open(triggers, "wb") as out:
        subprocess.run([sys.executable, HERE / "gen_filters.py", "--n", str(options.triggers),
                        "--invalid", str(options.invalid), "--events", events, "--oracle", expected, *world],
                       stdout=out, stderr=subprocess.DEVNULL, check=True)
    return events, triggers, expected


def invalid_lines(triggers):
    with open(triggers, encoding="utf-8") as lines:
        return [number for number, line in enumerate(lines, 1) if "x-invalid" in json.loads(line)]


def compare(answer, expected):
    """The differing lines, as text."""
    got, want = answer.splitlines(), expected.read_text(encoding="utf-8").splitlines()
    if len(got) != len(want):
        yield f"{len(got)} lines, expected {len(want)}"
    for number, (have, must) in enumerate(zip(got, want), 1):
        if have != must and json.loads(have) != json.loads(must):
            have, must = json.loads(have), json.loads(must)
            for name in ("matches", "errors"):
                extra = sorted(set(have.get(name, [])) - set(must[name]))
                missing = sorted(set(must[name]) - set(have.get(name, [])))
                if extra or missing:
                    yield f"line {number} {name}: too many {extra}, missing {missing}"
            if have.get("id") != must["id"]:
                yield f"line {number}: id {have.get('id')}, expected {must['id']}"


def run_seed(options, seed):
    with tempfile.TemporaryDirectory() as folder:
        events, triggers, expected = generate(pathlib.Path(folder), options, seed)
        done = subprocess.run([options.binary, "match", "--triggers", triggers, "--events", events,
                               "--threads", str(options.threads)], capture_output=True, text=True, check=True)
        summary = json.loads(done.stderr.splitlines()[-1])
        differences = list(compare(done.stdout, expected))
        rejected = [entry["line"] for entry in summary["rejected"]]
        if rejected != invalid_lines(triggers):
            differences.append(f"rejected lines {rejected}, invalid ones {invalid_lines(triggers)}")
    print(f"seed {seed}: {summary['triggers']} triggers, {summary['events']} events, {summary['matches']} matches, "
          f"{len(rejected)} rejected, {len(differences)} differences, {summary['eventsPerSecond']:.0f} events/s",
          flush=True)
    for difference in differences[:SHOWN_DIFFERENCES]:
        print("  " + difference)
    return len(differences)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--triggers", type=int, default=5000)
    parser.add_argument("--events", type=int, default=20000)
    parser.add_argument("--invalid", type=int, default=24)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    return 1 if sum(run_seed(options, int(seed)) for seed in options.seeds.split(",")) else 0


if __name__ == "__main__":
    sys.exit(main())
