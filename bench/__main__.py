"""All measurements one after the other, or those that are named: ``python -m bench replay appeals``."""

import sys

from bench import appeals, append, audit, replay, signing

MEASUREMENTS = {
    "append": ("(a) append", append.main),
    "signing": ("(b) signing over HTTP", signing.main),
    "replay": ("(c) replay and rebuild", replay.main),
    "appeals": ("(d) appeals", appeals.main),
    "audit": ("(e) audit", audit.main),
}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(MEASUREMENTS)
    for name in wanted:
        if name not in MEASUREMENTS:
            sys.exit(f"There is no measurement {name!r}: choose from {', '.join(MEASUREMENTS)}.")
    for name in wanted:
        title, measurement = MEASUREMENTS[name]
        print(f"\n== {title}", flush=True)
        measurement()
