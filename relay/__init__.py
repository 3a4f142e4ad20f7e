"""ses-relay: a local SMTP smarthost for Amazon SES sending authorization."""

__version__ = "0.1.0"
