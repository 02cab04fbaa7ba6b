"""Bytes out: server-sent events, WebSockets and polls. No policy lives here."""
