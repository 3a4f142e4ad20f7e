"""Which of the client's fields go, and which stay byte for byte but for blanks before the colon.

Owns stripping by name, in any case, folded or with blanks before the colon: every X-SES header but the ones that
the identity lets clients set, the configured names, and a From that is replaced, which may go on as Reply-To.

Sender is what SES checks like From and knows no ARN for (SES developer guide, "Troubleshooting"), so it goes too,
unless From has several mailboxes (RFC 5322 section 3.6.2) and Sender holds nothing that From might not hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from relay.policy.authorship import Author, Authority
from relay.policy.fields import Field, Section
from relay.policy.mailboxes import parse_mailboxes

# All that `client_headers` can permit. Never ARNs nor the tenant: they say in whose name a message goes.
CLIENT_MAY_SET = frozenset({"x-ses-configuration-set", "x-ses-message-tags", "x-ses-list-management-options"})


def headers_given(section: Section, client_headers: Collection[str]) -> frozenset[str]:
    """The X-SES headers, in lower case, that the client may set and did set, so that ours make way.

    An empty one says nothing, and SES refuses messages with it: it is none.
    """
    permitted = CLIENT_MAY_SET.intersection(map(str.lower, client_headers))
    return frozenset(field.name for field in section.fields if field.name in permitted and _says(section, field))


def kept(section: Section, author: Author, authority: Authority, strip: frozenset[str], given: frozenset[str]) -> bytes:
    """The fields that stay, side by side.

    Args:
        section: The client's header section.
        author: Whether From is replaced, and by which ARN Sender would have to be covered.
        authority: What decides on Sender.
        strip: Lower-case names to strip, besides X-SES headers.
        given: What `headers_given` returned.
    """
    if _may_keep_sender(section, author, authority):
        strip = strip - {"sender"}
    return b"".join(_kept(section, author, strip, given))


def _kept(section: Section, author: Author, strip: frozenset[str], given: frozenset[str]) -> Iterator[bytes]:
    for field in section.fields:
        if field.name == "from" and author.added:
            yield _reply_to(section, field)
        elif field.name.startswith("x-ses-"):
            yield section.written(field) if field.name in given and _says(section, field) else b""
        elif field.name not in strip:
            yield section.written(field)


def _says(section: Section, field: Field) -> bool:
    return bool(section.value(field).strip())


def _may_keep_sender(section: Section, author: Author, authority: Authority) -> bool:
    senders = section.named("sender")
    several = len(author.mailboxes) > 1
    return several and all(authority.permits(section.value(field), author.arn) for field in senders)


def _reply_to(section: Section, written_from: Field) -> bytes:
    """A replaced From as Reply-To, if there is none and it holds addresses to reply to."""
    value = section.value(written_from)
    return b"" if section.named("reply-to") or not _parses(value) else b"Reply-To:" + value


def _parses(value: bytes) -> bool:
    try:
        return bool(parse_mailboxes(value))
    except ValueError:
        return False
