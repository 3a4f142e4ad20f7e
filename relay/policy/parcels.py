"""From one finished message to what is handed to a transport.

SES takes at most 50 recipients in one call (SES developer guide, "Service quotas"). Without a spool a message
is never split, so that it is never half delivered: RCPT refuses the 51st.
"""

from relay.model import Envelope, Identity, Parcel
from relay.policy.headers import Message


def pack(parcel_id: str, identity: Identity, envelope: Envelope, message: Message) -> Parcel:
    """The one parcel of a message that has at most 50 recipients."""
    return Parcel(
        id=parcel_id,
        identity=identity.name,
        region=identity.region,
        transport=identity.transport,
        credentials=identity.credentials,
        sender=identity.replace_sender or envelope.sender,
        recipients=envelope.recipients,
        content=message.content,
        return_path_arn=message.return_path_arn,
        tenant=identity.tenant,
    )
