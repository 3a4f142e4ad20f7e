"""From one message to what is handed to a transport: parcels of at most 50 recipients.

SES takes at most 50 recipients in one call (SES developer guide, "Service quotas"). Without a spool a message
is never split, so that it is never half delivered: RCPT refuses the 51st.
"""

from collections.abc import Sequence

from relay.model import Buffer, Identity, Parcel

SES_RECIPIENTS = 50  # per message; SES developer guide, "Service quotas"


def share_out(recipients: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The recipients of a message, in their order, in groups that SES takes."""
    return tuple(
        tuple(recipients[start : start + SES_RECIPIENTS]) for start in range(0, len(recipients), SES_RECIPIENTS)
    )


def pack(
    parcel_id: str, identity: Identity, sender: str, recipients: tuple[str, ...], content: tuple[Buffer, ...] = ()
) -> Parcel:
    """One parcel as it goes out under a rule; `sender` is the envelope sender as the client gave it."""
    return Parcel(
        id=parcel_id,
        identity=identity.name,
        region=identity.region,
        transport=identity.transport,
        credentials=identity.credentials,
        sender=identity.replace_sender or sender,
        recipients=recipients,
        content=content,
        return_path_arn=str(identity.return_path_arn),
        tenant=identity.tenant,
    )
