//! Captures made byte by byte for the tests of this module.
