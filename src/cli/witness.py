"""``aiqyn witness``: run a witness, which lets nobody rewrite the logs that it saw."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from audit.summary import printable
from audit.witness.alarms import Alarm
from audit.witness.memory import LogState, Memory
from ledger.config import load
from ledger.tlog.note import COSIGNATURE, ML_DSA_44, NoteError, SignerKey, VerifierKey
from ledger.tlog.policy import Group, Policy, Witness
from ledger.tlog.witness import AddCheckpoint, origin_hash

_log = logging.getLogger(__name__)

witness = typer.Typer(no_args_is_help=True, add_completion=False)
logs = typer.Typer(no_args_is_help=True, help="Choose the logs that the witness cosigns.")
witness.add_typer(logs, name="log")

Place = Annotated[Path, typer.Argument(metavar="DIR", help="The witness's folder.", file_okay=False)]
Keys = Annotated[
    list[str], typer.Argument(metavar="VKEY...", help="The log's keys; their name is its origin.")
]
Url = Annotated[
    str, typer.Option("--url", help="Where logs and monitors will reach it, such as https://witness.example.")
]

_KEY_NAMES = {COSIGNATURE: "ed25519", ML_DSA_44: "ml-dsa-44"}
_ALARMS = {
    "fork": "the log signed two histories. This is proven: publish it",
    "unproven": "the log signed a checkpoint that was not shown to contain the cosigned one",
    "forgotten": "this witness cosigned more than it remembers: it stopped. See `aiqyn witness recover`",
    "two-faced": "this witness cosigned two histories: it stopped. Retire its name and its keys",
}


@witness.callback()
def _witness() -> None:
    """Run a witness, which lets nobody rewrite the logs that it saw."""


@witness.command()
def init(
    place: Place,
    name: Annotated[str, typer.Option("--name", help="Its name for ever, such as council.example/w1.")],
    url: Url = "",
    ed25519_only: Annotated[
        bool, typer.Option("--ed25519-only", help="Without an ML-DSA-44 key, where this machine has none.")
    ] = False,
) -> None:
    """Make a witness: its keys, and a memory that knows no log yet. Prints what a log's operator needs."""
    algorithms = [COSIGNATURE] if ed25519_only else list(_KEY_NAMES)
    try:
        keys = [SignerKey.generate(name, algorithm) for algorithm in algorithms]
    except NoteError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--name") from error
    Memory.create(place, keys)
    typer.echo(f"# The witness {name} is in {place}.", err=True)
    _print_policy([key.verifier for key in keys], url)


@witness.command()
def policy(place: Place, url: Url = "") -> None:
    """Print the lines that a log's operator and everybody who trusts this witness put into their policy."""
    with Memory(place) as memory:
        _print_policy(memory.vkeys, url)


@logs.command()
def add(
    place: Place,
    vkeys: Keys,
    since: Annotated[
        Path | None,
        typer.Option(
            "--since", metavar="FILE", help="A signed checkpoint that you verified: begin there.",
            exists=True, dir_okay=False,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Cosign a log from now on. Get its keys from its operator, not from the network."""
    parsed = _parse(vkeys)
    with Memory(place) as memory:
        for vkey in parsed:
            memory.add_log(vkey)
        if since is not None:
            checkpoint = memory.begin_at(since.read_bytes())
            typer.echo(f"Cosigned {printable(checkpoint.origin)} at size {checkpoint.size}.")
        for origin in dict.fromkeys(vkey.name for vkey in parsed):
            typer.echo(f"This witness cosigns {printable(origin)}.")


@logs.command()
def remove(place: Place, vkeys: Keys) -> None:
    """Trust a log's key no more. What was cosigned stays remembered."""
    with Memory(place) as memory:
        for vkey in _parse(vkeys):
            memory.remove_log(vkey)


@logs.command("list")
def list_logs(place: Place) -> None:
    """List the logs that it cosigns, by their keys."""
    with Memory(place) as memory:
        for state in memory.logs():
            for vkey in state.vkeys:
                typer.echo(printable(str(vkey)))


@witness.command()
def serve(
    place: Place,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65_535)] = 8080,
) -> None:
    """Serve until Ctrl-C or SIGTERM. Several processes may serve one folder on one machine."""
    try:
        from api.process import make_server, set_up_logging
        from api.supervisor import listen
        from audit.witness.app import create_app
    except ModuleNotFoundError as error:
        typer.echo(f"aiqyn: a witness needs {error.name}: install aiqyn with its extra [witness].", err=True)
        raise typer.Exit(1) from error
    set_up_logging(load().settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server catches it, finishes what is under way, and raises it again.
        signal.signal(number, lambda *_: sys.exit(0))
    with Memory(place) as memory, closing(listen(host, port)) as listening:
        for alarm in memory.alarms():
            if alarm.kind != "unproven":
                said = "ALARM %s: %s at size %d: %s"
                _log.critical(said, alarm.kind, alarm.origin, alarm.size, _ALARMS[alarm.kind])
        base = f"http://{host}:{listening.getsockname()[1]}"
        typer.echo(f"The witness {memory.name} serves at {base}")
        make_server(create_app(memory)).run(sockets=[listening])


@witness.command()
def status(
    place: Place,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FOLDER", help="Also write what the alarms rest on, as files."),
    ] = None,
) -> None:
    """Show what it cosigned last, and every alarm.

    Exit status: 0 all is well, 1 something must be looked at.
    """
    with Memory(place) as memory:
        known, alarms = memory.logs(), memory.alarms()
        name, vkeys = memory.name, memory.vkeys
    if save is not None:
        for alarm in alarms:
            _save(alarm, save)
    urgent = [alarm for alarm in alarms if _is_urgent(alarm, known)]
    if as_json:
        document = {
            "name": name,
            "keys": [str(vkey) for vkey in vkeys],
            "logs": [_log_facts(state) for state in known],
            "alarms": [_alarm_facts(alarm) | {"urgent": alarm in urgent} for alarm in alarms],
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        typer.echo(f"Witness {name}")
        for state in known:
            typer.echo(printable(f"  {_line(state)}"))
        for alarm in alarms:
            urgently = alarm in urgent
            typer.secho(printable(f"  {_alarm_line(alarm)}"), fg="red" if urgently else None, bold=urgently)
    raise typer.Exit(1 if urgent else 0)


@witness.command()
def recover(place: Place) -> None:
    """Bring a lost or old memory to what this witness's own cosignatures show. Stop `serve` before."""
    learned = Memory.recover(place)
    with Memory(place) as memory:
        for checkpoint in learned:
            typer.echo(f"Remembered: {printable(checkpoint.origin)} at size {checkpoint.size}.")
        if not learned:
            typer.echo("The memory knew everything already.")
        for state in memory.logs():
            if not state.vkeys:
                typer.echo(f"No key of {printable(state.origin)} is known: see `aiqyn witness log add`.")


def _parse(vkeys: list[str]) -> list[VerifierKey]:
    try:
        return [VerifierKey.parse(vkey) for vkey in vkeys]
    except NoteError as error:
        raise typer.BadParameter(f"{error}.", param_hint="VKEY") from error


def _print_policy(vkeys: list[VerifierKey] | tuple[VerifierKey, ...], url: str) -> None:
    """One witness has two keys: a group counts it once."""
    name = vkeys[0].name
    members = tuple(
        Witness(f"{name}/{_KEY_NAMES[vkey.algorithm]}", vkey, url.rstrip("/") or None) for vkey in vkeys
    )
    group = Group(name, 1, tuple(member.name for member in members))
    lines = Policy((), members, (group,), name).to_text().splitlines()
    for line in lines[:-1]:  # whose quorum this is, its author knows
        typer.echo(line)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _is_urgent(alarm: Alarm, known: list[LogState]) -> bool:
    """Whether a person must look: an unproven checkpoint matters until the log went on as it should."""
    if alarm.kind != "unproven":
        return True
    return any(
        state.origin == alarm.origin and state.timestamp is not None and state.timestamp <= alarm.seen
        for state in known
    )


def _line(state: LogState) -> str:
    if state.latest is None or state.timestamp is None:
        return f"{state.origin}: nothing cosigned yet"
    no_more = "" if state.vkeys else "; cosigned no more"
    return f"{state.origin}: size {state.latest.size}, cosigned {_time(state.timestamp)}{no_more}"


def _alarm_line(alarm: Alarm) -> str:
    return (
        f"ALARM {alarm.id} {alarm.kind} ({_time(alarm.seen)}): {alarm.origin}, size {alarm.size}, "
        f"root {alarm.root.hex()}: {_ALARMS[alarm.kind]}"
    )


def _log_facts(state: LogState) -> dict[str, Any]:
    return {
        "origin": state.origin,
        "origin_hash": origin_hash(state.origin),
        "keys": [str(vkey) for vkey in state.vkeys],
        "size": None if state.latest is None else state.latest.size,
        "root": None if state.latest is None else state.latest.root.hex(),
        "cosigned_at": None if state.timestamp is None else _time(state.timestamp),
    }


def _alarm_facts(alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "kind": alarm.kind,
        "origin": alarm.origin,
        "size": alarm.size,
        "root": alarm.root.hex(),
        "seen": _time(alarm.seen),
        "meaning": _ALARMS[alarm.kind],
    }


def _save(alarm: Alarm, folder: Path) -> None:
    """The request, the checkpoint in it, and the one that it contradicts, each as the log signed it."""
    place = folder / f"alarm-{alarm.id}-{alarm.kind}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "request").write_bytes(alarm.request)
    (place / "checkpoint").write_bytes(AddCheckpoint.parse(alarm.request).checkpoint)
    if alarm.remembered is not None:
        (place / "remembered").write_bytes(alarm.remembered)
