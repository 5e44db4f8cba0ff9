"""``aiqyn receipt``: what a receipt proves."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from audit.summary import printable
from ledger.errors import AiqynError
from ledger.receipt import MAX_RECEIPT_BYTES, Receipt, ReceiptError, VerifiedReceipt
from ledger.tlog.note import VerifierKey
from ledger.tlog.policy import Policy

receipt = typer.Typer(no_args_is_help=True, help="Check a receipt.")


@receipt.callback()
def _receipt() -> None:
    """Check a receipt."""


@receipt.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.", exists=True, dir_okay=False)],
    log_key: Annotated[
        str, typer.Option("--log-key", metavar="VKEY", help="The log's key, got from somewhere you trust.")
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Witnesses and their quorum (C2SP tlog-policy): they must have cosigned.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check a receipt, offline: the log's signature, the proof of inclusion, the disclosures, cosignatures.

    Exit status: 0 it verifies, 1 it does not.
    """
    try:
        with file.open("rb") as stream:
            held = Receipt.parse(stream.read(MAX_RECEIPT_BYTES + 1))
        quorum = None if policy is None else Policy.parse(policy.read_bytes())
        verified = held.verify(VerifierKey.parse(log_key), quorum)
    except OSError as error:
        raise ReceiptError(f"{file} cannot be read: {error.strerror}.") from error
    except AiqynError as error:
        if not as_json:
            raise
        typer.echo(
            msgspec.json.encode({"verified": False, "code": error.code, "reason": str(error)}).decode()
        )
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(_facts(verified)), indent=2).decode())
    else:
        _explain(verified)


def _facts(verified: VerifiedReceipt) -> dict[str, object]:
    event, checkpoint = verified.event, verified.checkpoint
    return {
        "verified": True,
        "origin": checkpoint.origin,
        "position": verified.position,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "type": event.facts.type,
        "stream": event.stream,
        "n": event.n,
        "issuer": event.iss,
        "iat": event.iat,
        "data": event.facts,
        "disclosures": {disclosure.name: disclosure.value for disclosure in verified.disclosures},
        "own": {disclosure.name: disclosure.value for disclosure in verified.own},
        "cosignatures": [
            {"witness": one.witness.name, "key": str(one.witness), "time": one.timestamp}
            for one in verified.cosignatures
        ],
        "unchecked": verified.unchecked,
    }


def _explain(verified: VerifiedReceipt) -> None:
    event, checkpoint = verified.event, verified.checkpoint
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("what", f"{event.facts.type}, event {event.n} of {event.stream}"),
        ("said by", f"{event.iss}, at {_time(event.iat)}"),
        ("position", f"{verified.position} in the log {checkpoint.origin}"),
        ("proven by", f"the log's signature over {checkpoint.size} entries, root {checkpoint.root.hex()}"),
    ]
    rows += [(f"“{shown.name}”", f"{shown.value}") for shown in verified.disclosures]
    rows += [(f"“{shown.name}” (yours alone)", f"{shown.value}") for shown in verified.own]
    rows += [("cosigned by", f"{one.witness.name}, {_time(one.timestamp)}") for one in verified.cosignatures]
    for name, value in rows:
        table.add_row(Text(printable(name)), Text(printable(value)))
    console = Console(highlight=False)
    verdict = Text("✔ The log signed for this entry.", style="bold green")
    verdict.append(
        " It cannot be changed, moved or left out without the log's signature proving the fraud.", "default"
    )
    console.print(Padding(verdict, (1, 2)))
    console.print(Padding(table, (0, 2, 1, 2)))
    if verified.own:
        warning = "This receipt holds what was disclosed to you alone: do not pass it on."
        console.print(Padding(Text(warning, style="yellow"), (0, 2, 1, 2)))
    console.print(Padding(Text(f"Not shown by a receipt. {verified.unchecked}", style="dim"), (0, 2, 1, 2)))


def _time(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"second {seconds} since 1970"
