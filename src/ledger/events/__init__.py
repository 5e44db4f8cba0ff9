"""The catalogue: every type of event, its public facts and the names of its disclosures.

One struct is one fact that can happen to one stream. The fields of a struct are the ``data`` of the
event's payload: public for ever, so they hold no free text and nothing about a person. What must be
removable (a masked name, a petition's text) or secret (an IIN, the CMS) is a *disclosure*: the
event holds only its digest, and the struct declares its name as ``public`` or ``restricted``.

A type's ``version`` grows when its fields change; :func:`decode` upcasts what was written earlier,
so that the rest of the house knows the newest form only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.events.appeals import (
    AppealApplicantTold,
    AppealAssigned,
    AppealAssignmentAnswered,
    AppealComplained,
    AppealComplaintDecided,
    AppealComplaintPassedUp,
    AppealComplaintSatisfied,
    AppealDecided,
    AppealDecisionApproved,
    AppealDecisionDrafted,
    AppealExtended,
    AppealExtensionApproved,
    AppealExtensionDrafted,
    AppealFinished,
    AppealFixed,
    AppealForwarded,
    AppealForwardedInPart,
    AppealHearingHeld,
    AppealHearingNoticed,
    AppealImported,
    AppealKind,
    AppealLapsed,
    AppealObjected,
    AppealOutcome,
    AppealOverdue,
    AppealReturned,
    AppealSplitOff,
    AppealStepImported,
    AppealSubmitted,
    AppealTaken,
    AppealTerm,
    AppealWithdrawalAccepted,
    AppealWithdrawalAsked,
    AppealWithdrawalDeclined,
    Applicant,
    Category,
    Channel,
    ComplaintAbout,
    ComplaintOutcome,
    Delivery,
    DisclosureRead,
    ExtensionGround,
    ImportedStep,
    ReadingPurpose,
    ReturnGround,
    TerminationGround,
)
from ledger.events.assurance import (
    MAX_SAMPLE,
    DisclosureErased,
    ErasureGround,
    EvidenceAsked,
    EvidenceDrawn,
    EvidenceOpened,
    ProjectionCommitted,
)
from ledger.events.base import (
    HASH_PATTERN,
    MAX_INTEGER,
    Algorithm,
    Count,
    Fact,
    Instant,
    KeyId,
    Language,
    MalformedEventError,
    Nullifier,
    Number,
    PublicKey,
    Region,
    Role,
    Sha256,
    Stream,
    Text,
    UnknownEventTypeError,
    Upcaster,
    catalogue,
    dated,
)
from ledger.events.organisations import (
    Level,
    Names,
    OrganisationKeyRegistered,
    OrganisationKeyRevoked,
    OrganisationKind,
    OrganisationPopulationRecorded,
    OrganisationRegistered,
    RevocationReason,
)
from ledger.events.petitions import (
    File,
    Outcome,
    PetitionAdmitted,
    PetitionDecided,
    PetitionDraftPublished,
    PetitionLapsed,
    PetitionNotSupported,
    PetitionOverdue,
    PetitionPublished,
    PetitionRegistered,
    PetitionRejected,
    PetitionRouted,
    PetitionSigned,
    PetitionSubmitted,
    PetitionSupported,
    PetitionWithdrawn,
    PetitionWorkingGroupFormed,
    RejectionGround,
    SignatureVoided,
    SignatureWithdrawn,
    VoidingReason,
)

__all__ = [
    "HASH_PATTERN",
    "MAX_INTEGER",
    "MAX_SAMPLE",
    "Algorithm",
    "AppealApplicantTold",
    "AppealAssigned",
    "AppealAssignmentAnswered",
    "AppealComplained",
    "AppealComplaintDecided",
    "AppealComplaintPassedUp",
    "AppealComplaintSatisfied",
    "AppealDecided",
    "AppealDecisionApproved",
    "AppealDecisionDrafted",
    "AppealExtended",
    "AppealExtensionApproved",
    "AppealExtensionDrafted",
    "AppealFinished",
    "AppealFixed",
    "AppealForwarded",
    "AppealForwardedInPart",
    "AppealHearingHeld",
    "AppealHearingNoticed",
    "AppealImported",
    "AppealKind",
    "AppealLapsed",
    "AppealObjected",
    "AppealOutcome",
    "AppealOverdue",
    "AppealReturned",
    "AppealSplitOff",
    "AppealStepImported",
    "AppealSubmitted",
    "AppealTaken",
    "AppealTerm",
    "AppealWithdrawalAccepted",
    "AppealWithdrawalAsked",
    "AppealWithdrawalDeclined",
    "Applicant",
    "Category",
    "Channel",
    "ComplaintAbout",
    "ComplaintOutcome",
    "Count",
    "Delivery",
    "DisclosureErased",
    "DisclosureRead",
    "ErasureGround",
    "EvidenceAsked",
    "EvidenceDrawn",
    "EvidenceOpened",
    "ExtensionGround",
    "Fact",
    "File",
    "ImportedStep",
    "Instant",
    "KeyId",
    "Language",
    "Level",
    "MalformedEventError",
    "Names",
    "Nullifier",
    "Number",
    "OrganisationKeyRegistered",
    "OrganisationKeyRevoked",
    "OrganisationKind",
    "OrganisationPopulationRecorded",
    "OrganisationRegistered",
    "Outcome",
    "PetitionAdmitted",
    "PetitionDecided",
    "PetitionDraftPublished",
    "PetitionLapsed",
    "PetitionNotSupported",
    "PetitionOverdue",
    "PetitionPublished",
    "PetitionRegistered",
    "PetitionRejected",
    "PetitionRouted",
    "PetitionSigned",
    "PetitionSubmitted",
    "PetitionSupported",
    "PetitionWithdrawn",
    "PetitionWorkingGroupFormed",
    "ProjectionCommitted",
    "PublicKey",
    "ReadingPurpose",
    "Region",
    "RejectionGround",
    "ReturnGround",
    "RevocationReason",
    "Role",
    "Sha256",
    "SignatureVoided",
    "SignatureWithdrawn",
    "Stream",
    "TerminationGround",
    "Text",
    "UnknownEventTypeError",
    "Upcaster",
    "VoidingReason",
    "catalogue",
    "dated",
    "decode",
]

_decoders: dict[type[Fact], msgspec.json.Decoder[Fact]] = {}


def decode(type_: str, version: int, data: bytes | msgspec.Raw) -> Fact:
    """The facts in an event's ``data``, upcast to the newest version.

    Raises :class:`UnknownEventTypeError` for a type or a version that this release does not know, and
    :class:`MalformedEventError` where a field is missing, of the wrong form or not in the catalogue.
    """
    cls = catalogue.get(type_)
    if cls is None or not 1 <= version <= cls.version:
        raise UnknownEventTypeError(
            f"No event {type_!r} of version {version} is known here; a newer release may know it.",
            event_type=type_,
            version=version,
        )
    try:
        if version == cls.version:
            decoder = _decoders.get(cls)
            if decoder is None:
                decoder = _decoders[cls] = msgspec.json.Decoder(cls)
            return decoder.decode(data)
        fields = msgspec.json.decode(data, type=dict[str, Any])
        for step in range(version, cls.version):
            fields = cls.upcasters[step](fields)
        return msgspec.convert(fields, cls)
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError) as error:
        raise MalformedEventError(f"The data of {type_!r} is not as the catalogue says: {error}.") from error
