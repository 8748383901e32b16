//! The workloads under criterion: `cargo bench -p genzoo-benches`, with one name to run one.
//!
//! For the comparison with PyTorch run `benches/side_by_side`, which times both in turn.

use criterion::{Criterion, criterion_group, criterion_main};
use genzoo_benches::WORKLOADS;
use genzoo_kernels::runtime;

#[global_allocator]
static GLOBAL: runtime::Allocator = runtime::ALLOCATOR;

fn train_steps(c: &mut Criterion) {
    runtime::configure(None);
    let mut group = c.benchmark_group("train_step");
    group.sample_size(20);
    for workload in WORKLOADS {
        // Made on first use, so that naming one workload does not build the others.
        let mut built = None;
        group.bench_function(workload.name, |b| {
            let timed = runtime::run(|| {
                let built = built.get_or_insert_with(|| {
                    (workload.build)().unwrap_or_else(|e| panic!("{} cannot be built: {e}", workload.name))
                });
                b.iter(|| (built.step)().unwrap_or_else(|e| panic!("{} failed: {e}", workload.name)));
            });
            timed.unwrap_or_else(|e| panic!("{e}"));
        });
    }
    group.finish();
}

criterion_group!(benches, train_steps);
criterion_main!(benches);
