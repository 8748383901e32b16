//! Fast tensor operations for candle on the CPU.
pub mod optim;
