"""The table of event types in ``docs/spec.md``. ``python -m tests.docs.catalogue`` writes it anew."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ledger import events

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec.md"
BEGIN, END = "<!-- catalogue:begin -->\n", "<!-- catalogue:end -->"


def table() -> str:
    """One row for each type, from the code."""
    lines = ["| type | v | issued by | `data` | public | restricted |", "|---|---|---|---|---|---|"]
    for type_, cls in events.catalogue.items():
        fields = [
            f"`{field.name}`" + ("" if field.required else "?") for field in msgspec.structs.fields(cls)
        ]
        lines.append(
            f"| `{type_}` | {cls.version} | {', '.join(sorted(cls.issuers))} | {', '.join(fields) or '—'} "
            f"| {', '.join(sorted(cls.public)) or '—'} | {', '.join(sorted(cls.restricted)) or '—'} |"
        )
    return "\n".join(lines) + "\n"


def rewritten(spec: str) -> str:
    """The specification with the table as the code has it."""
    before, _, rest = spec.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    SPEC.write_text(rewritten(SPEC.read_text("utf-8")), "utf-8")
