"""What ``docs/`` says of the event types: a table in the spec, and a schema.

``python -m tests.docs.catalogue`` writes both anew.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ledger import events

DOCS = Path(__file__).resolve().parents[2] / "docs"
SPEC = DOCS / "spec.md"
SCHEMA = DOCS / "events.schema.json"
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


def schema() -> str:
    """The forms of all facts, as JSON Schema 2020-12."""
    types = list(events.catalogue.values())
    _, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    by_type = {cls.type: {"$ref": f"#/$defs/{cls.__name__}"} for cls in types}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The data of every type of event",
        "properties": by_type,
        "$defs": components,
    }
    text = msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2).decode() + "\n"
    return text.replace(r"\\Z", "$")  # the very end, in the patterns of Python and in those of ECMA-262


if __name__ == "__main__":
    SCHEMA.write_text(schema(), "utf-8")
    SPEC.write_text(rewritten(SPEC.read_text("utf-8")), "utf-8")
