//! Writes what was counted as OpenMetrics text.
