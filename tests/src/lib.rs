//! Harnesses and behaviour tests through the real front door.
