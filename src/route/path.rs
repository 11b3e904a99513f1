//! Decides how a path is written: one spelling for each.
