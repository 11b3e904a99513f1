//! Requests: their fields, pseudo-fields and lengths (RFC 9113, 8).
