"""Files that come with an event: uploaded first, encrypted at once, taken up by the event that names them.

An uploaded file is sealed under a key of its own. The service keeps the file and not the key: the key goes
back to the client inside a *ticket* that only this vault opens, and the ticket goes with the event into its
restricted disclosures. Whoever destroys the event's data key destroys the file with it; a file that no event
takes up within a day is removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from msgspec import Meta

from ledger.domain import wording
from ledger.encoding import b64url, b64url_decode
from ledger.errors import AiqynError
from ledger.store.vault import KEY_BYTES, Vault, VaultError

MAX_BYTES = 10 * 1024 * 1024
MAX_FILES = 10
KEPT_SECONDS = 24 * 3600
"""How long a file waits for its event."""
_USABLE_SECONDS = KEPT_SECONDS - 3600
MEDIA_TYPES: dict[str, tuple[bytes, ...]] = {
    "application/pdf": (b"%PDF-",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (b"PK\x03\x04",),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (b"PK\x03\x04",),
}
"""What may be attached, and how such files begin."""


class AttachmentRefusedError(AiqynError):
    """The file is too large, or of a kind that is not taken."""

    code = "attachment-refused"
    title = "This file cannot be attached"


class AttachmentUnknownError(AiqynError):
    """The ticket is not one of this service, was altered, or is older than a day."""

    code = "attachment-unknown"
    title = "No such file was uploaded"


class Attachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An uploaded file, as whoever uploaded it names it in an event."""

    id: UUID
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Over the bytes as they were uploaded; hex."""
    size: int
    """In bytes."""
    media_type: str
    ticket: str
    """Opens the file, in this service's hands alone: keep it until the event is recorded."""
    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f/\\]+\Z")] = "file"


class _Ticket(msgspec.Struct, array_like=True, frozen=True):
    """What a ticket hides, and what it vouches for."""

    key: bytes
    sha256: str
    size: int
    media_type: str
    at: int


def take(vault: Vault, content: bytes, media_type: str, now: float) -> tuple[Attachment, bytes]:
    """The file's description, and the file as it is stored. Raises :class:`AttachmentRefusedError`."""
    begins = MEDIA_TYPES.get(media_type)
    if begins is None:
        raise AttachmentRefusedError(
            f"Files of type {media_type or 'unknown'} are not taken: send {', '.join(MEDIA_TYPES)}."
        )
    if not 0 < len(content) <= MAX_BYTES:
        raise AttachmentRefusedError(f"A file has 1 to {MAX_BYTES} bytes, not {len(content)}.")
    if not content.startswith(begins):
        raise AttachmentRefusedError(f"The file does not begin as a file of type {media_type} does.")
    id_ = uuid4()
    digest = hashlib.sha256(content).hexdigest()
    key, sealed = vault.seal_file(id_.bytes, content)
    ticket = _Ticket(key, digest, len(content), media_type, int(now))
    wrapped = b64url(vault.wrap("attachment", str(id_), msgspec.json.encode(ticket)))
    return Attachment(id_, digest, len(content), media_type, wrapped), sealed


def check(vault: Vault, value: Any, now: float) -> tuple[Attachment, ...]:  # noqa: ANN401 - JSON of a client
    """The files that an event is to take up. Raises :class:`AttachmentUnknownError`."""
    try:
        files = msgspec.convert(value, tuple[Attachment, ...])
    except msgspec.ValidationError as error:
        raise AttachmentUnknownError(f"The attachments are not as the upload gave them: {error}.") from None
    if len(files) > MAX_FILES or len({file.id for file in files}) != len(files):
        raise AttachmentRefusedError(f"At most {MAX_FILES} files come with one step, each once.")
    for file in files:
        wording.check_visible("name of the file", file.name)
        ticket = _open(vault, file)
        if (ticket.sha256, ticket.size, ticket.media_type) != (file.sha256, file.size, file.media_type):
            raise AttachmentUnknownError(f"File {file.id} was uploaded with another hash, size or type.")
        if now - ticket.at > _USABLE_SECONDS:
            raise AttachmentUnknownError(f"File {file.id} was uploaded too long ago: upload it again.")
    return files


def ids(value: Sequence[dict[str, Any]] | None) -> tuple[UUID, ...]:
    """Which files a disclosure names that was checked before."""
    return tuple(UUID(str(file["id"])) for file in value or ())


def open_file(vault: Vault, file: Attachment, sealed: bytes) -> bytes:
    """The file again. Raises ``VaultError`` or :class:`AttachmentUnknownError`."""
    content = vault.open_file(_open(vault, file).key, file.id.bytes, sealed)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise VaultError(f"File {file.id} is not the one that was uploaded.")
    return content


def _open(vault: Vault, file: Attachment) -> _Ticket:
    try:
        plain = vault.unwrap("attachment", str(file.id), b64url_decode(file.ticket))
        ticket = msgspec.json.decode(plain, type=_Ticket)
    except (VaultError, ValueError, msgspec.MsgspecError):
        raise AttachmentUnknownError(f"The ticket of file {file.id} is not one of this service.") from None
    if len(ticket.key) != KEY_BYTES:
        raise AttachmentUnknownError(f"The ticket of file {file.id} holds no key.")
    return ticket
