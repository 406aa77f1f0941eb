//! Tests that no other runs beside. Their name comes last in the alphabet, which is the order that
//! tests begin in: so the others wait for them once.

mod rolling;
mod stuck;
