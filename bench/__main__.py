"""All measurements, one after the other."""

from bench import append, replay, signing

for name, measurement in (
    ("(a) append", append.main),
    ("(b) signing over HTTP", signing.main),
    ("(c) replay and rebuild", replay.main),
):
    print(f"\n== {name}", flush=True)
    measurement()
