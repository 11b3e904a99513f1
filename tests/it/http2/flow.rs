//! Flow control: who may send how much (RFC 9113, 5.2 and 6.9).
