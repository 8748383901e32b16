//! The binary `genzoo`.

use std::process::ExitCode;

#[global_allocator]
static GLOBAL: genzoo_kernels::runtime::Allocator = genzoo_kernels::runtime::ALLOCATOR;

fn main() -> ExitCode {
    genzoo::main_with(&[])
}
