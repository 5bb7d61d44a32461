"""Models behind HTTP servers: addresses and keys, the transport that retries, and the dialects that answers are in."""
