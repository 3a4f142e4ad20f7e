"""The durable queue: mail that SES cannot take now, committed to disk before its client hears 250.

`interface` is what the rest of the relay knows; each engine is a module beside it.
"""
