//! The linear assignment problem, exactly: a permutation σ that minimises Σ_i c(i, σ(i)).
//!
//! ```text
//! min Σ c(i, σ(i))  =  max Σ u_i + Σ v_j   subject to   u_i + v_j ≤ c(i, j)
//! ```
//!
//! Shortest augmenting paths after column reduction and augmenting row reduction. The prices u, v come with the
//! answer, so its optimality can be checked: feasible prices whose sum equals the cost prove it.
//! Source: Jonker & Volgenant (1987), Computing 38, 325–340.

use genzoo_core::{Error, Result};

const FREE: usize = usize::MAX;

/// A cheapest assignment and the prices that prove it.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The column of each row.
    pub column_of: Vec<usize>,
    /// Its total cost.
    pub cost: f64,
    /// Prices of the rows.
    pub u: Vec<f64>,
    /// Prices of the columns.
    pub v: Vec<f64>,
}

/// Solves the assignment problem for an n × n cost matrix, row-major. O(n³); n = 2000 takes seconds.
///
/// # Errors
/// If the matrix is not square or holds a number that is not finite.
pub fn assign(costs: &[f64], n: usize) -> Result<Assignment> {
    if costs.len() != n * n {
        return Err(Error::data("cost matrix", format!("{n}×{n} numbers"), costs.len()));
    }
    if let Some(bad) = costs.iter().find(|c| !c.is_finite()) {
        return Err(Error::data("cost", "a finite number", bad));
    }
    let mut solver = Solver::reduce_columns(costs, n);
    let mut free = solver.transfer_reduction();
    for _ in 0..2 {
        free = solver.reduce_rows(free);
    }
    solver.augment(&free);
    let u: Vec<f64> = (0..n).map(|i| solver.reduced(i, solver.column_of[i])).collect();
    let cost = (0..n).map(|i| costs[i * n + solver.column_of[i]]).sum();
    Ok(Assignment { column_of: solver.column_of, cost, u, v: solver.v })
}

struct Solver<'a> {
    costs: &'a [f64],
    n: usize,
    v: Vec<f64>,
    column_of: Vec<usize>, // of a row, or FREE
    row_of: Vec<usize>,    // of a column, or FREE
}

impl<'a> Solver<'a> {
    /// Prices each column at its cheapest entry and gives it to that row if the row has none yet.
    fn reduce_columns(costs: &'a [f64], n: usize) -> Self {
        let mut v = vec![f64::INFINITY; n];
        let mut cheapest = vec![0; n];
        for (i, row) in costs.chunks_exact(n.max(1)).enumerate() {
            for (j, c) in row.iter().enumerate() {
                if *c < v[j] {
                    v[j] = *c;
                    cheapest[j] = i;
                }
            }
        }
        let mut solver = Self { costs, n, v, column_of: vec![FREE; n], row_of: vec![FREE; n] };
        for (j, &i) in cheapest.iter().enumerate().rev() {
            if solver.column_of[i] == FREE {
                solver.column_of[i] = j;
                solver.row_of[j] = i;
            }
        }
        solver
    }

    fn row(&self, i: usize) -> &'a [f64] {
        &self.costs[i * self.n..(i + 1) * self.n]
    }

    fn reduced(&self, i: usize, j: usize) -> f64 {
        self.costs[i * self.n + j] - self.v[j]
    }

    /// Lowers the price of each assigned column as far as its row allows; the rows without a column are returned.
    fn transfer_reduction(&mut self) -> Vec<usize> {
        let mut free = Vec::new();
        for i in 0..self.n {
            let j1 = self.column_of[i];
            if j1 == FREE {
                free.push(i);
                continue;
            }
            let others = self.row(i).iter().zip(&self.v).enumerate().filter(|(j, _)| *j != j1);
            let second = others.map(|(_, (c, v))| c - v).fold(f64::INFINITY, f64::min);
            // The assigned column was its row's by its own minimum, not by the row's: never raise the price.
            let slack = second - self.reduced(i, j1);
            if slack.is_finite() && slack > 0.0 {
                self.v[j1] -= slack;
            }
        }
        free
    }

    /// Each free row takes its best column, at a price that makes its second best as good; who is pushed out tries
    /// again. Returns the rows still free.
    fn reduce_rows(&mut self, free: Vec<usize>) -> Vec<usize> {
        if self.n < 2 {
            return free;
        }
        let mut queue: std::collections::VecDeque<usize> = free.into();
        let mut still_free = Vec::new();
        // In floating point a price war can go on by the last bits, so it is given a bounded number of moves.
        let mut moves = 20 * self.n;
        while let Some(i) = queue.pop_front() {
            if moves == 0 {
                still_free.push(i);
                continue;
            }
            moves -= 1;
            let (mut j1, best, j2, second) = self.two_best(i);
            let mut owner = self.row_of[j1];
            let lowers = second > best && self.v[j1] - (second - best) < self.v[j1];
            if lowers {
                self.v[j1] -= second - best;
            } else if owner != FREE {
                j1 = j2;
                owner = self.row_of[j2];
            }
            self.column_of[i] = j1;
            self.row_of[j1] = i;
            if owner != FREE {
                self.column_of[owner] = FREE;
                if lowers {
                    queue.push_front(owner);
                } else {
                    still_free.push(owner);
                }
            }
        }
        still_free
    }

    fn two_best(&self, i: usize) -> (usize, f64, usize, f64) {
        let (mut j1, mut best, mut j2, mut second) = (0, f64::INFINITY, 0, f64::INFINITY);
        for (j, (c, v)) in self.row(i).iter().zip(&self.v).enumerate() {
            let price = c - v;
            if price < second {
                if price < best {
                    (j2, second) = (j1, best);
                    (j1, best) = (j, price);
                } else {
                    (j2, second) = (j, price);
                }
            }
        }
        (j1, best, j2, second)
    }

    /// For each free row the shortest path, in reduced costs, to a free column (Dijkstra on the dense graph).
    fn augment(&mut self, free: &[usize]) {
        let n = self.n;
        let mut distance = vec![0.0; n];
        let mut before = vec![0; n];
        for &start in free {
            let mut open: Vec<usize> = (0..n).collect();
            let mut closed: Vec<usize> = Vec::new();
            for j in 0..n {
                distance[j] = self.reduced(start, j);
                before[j] = start;
            }
            let mut nearest = self.nearest(&open, &distance);
            let (end, length) = loop {
                // `open` is never empty here: as long as a row is free, so is a column.
                let j = open.swap_remove(nearest);
                let length = distance[j];
                let i = self.row_of[j];
                if i == FREE {
                    break (j, length);
                }
                closed.push(j);
                let row = self.row(i);
                let offset = length - (row[j] - self.v[j]);
                for &k in &open {
                    let through = row[k] - self.v[k] + offset;
                    if through < distance[k] {
                        distance[k] = through;
                        before[k] = i;
                    }
                }
                nearest = self.nearest(&open, &distance);
            };
            for &j in &closed {
                self.v[j] += distance[j] - length;
            }
            let mut j = end;
            loop {
                let i = before[j];
                self.row_of[j] = i;
                let next = std::mem::replace(&mut self.column_of[i], j);
                if i == start {
                    break;
                }
                j = next;
            }
        }
    }

    /// Where in `open` the nearest column is; among equals a free one, which ends the search.
    fn nearest(&self, open: &[usize], distance: &[f64]) -> usize {
        let (mut at, mut length) = (0, f64::INFINITY);
        for (k, &j) in open.iter().enumerate() {
            if distance[j] < length || (distance[j] == length && self.row_of[j] == FREE) {
                (at, length) = (k, distance[j]);
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Noise;

    /// Feasible prices whose sum is the cost prove optimality, whatever the algorithm did.
    fn check(costs: &[f64], n: usize) -> Result<Assignment> {
        let got = assign(costs, n)?;
        let mut seen = vec![false; n];
        got.column_of.iter().for_each(|&j| seen[j] = true);
        assert!(seen.iter().all(|s| *s), "not a permutation");
        let scale = costs.iter().fold(1.0f64, |a, c| a.max(c.abs()));
        for i in 0..n {
            for j in 0..n {
                assert!(got.u[i] + got.v[j] <= costs[i * n + j] + 1e-12 * scale, "prices break ({i}, {j})");
            }
        }
        let worth: f64 = got.u.iter().sum::<f64>() + got.v.iter().sum::<f64>();
        assert!((worth - got.cost).abs() < 1e-11 * scale * n as f64, "{worth} {}", got.cost);
        Ok(got)
    }

    fn squared(n: usize, d: usize, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        let (x, y) = (noise.normals(n * d), noise.normals(n * d));
        let distance =
            |i: usize, j: usize| (0..d).map(|k| (x[i * d + k] - y[j * d + k]).powi(2)).sum::<f64>();
        (0..n * n).map(|k| distance(k / n, k % n)).collect()
    }

    #[test]
    fn prices_prove_the_assignment() -> Result<()> {
        for (n, d) in [(1, 1), (2, 1), (17, 1), (60, 2), (150, 3), (100, 40)] {
            check(&squared(n, d, n as u64), n)?;
        }
        assert!(assign(&[], 0)?.column_of.is_empty());
        Ok(())
    }

    /// Ties everywhere: whole numbers, constant matrices, negative costs.
    #[test]
    fn ties_and_signs_do_no_harm() -> Result<()> {
        for seed in 0..30 {
            let n = 30;
            let costs: Vec<f64> =
                Noise::new(seed).below(4, n * n).into_iter().map(|c| c as f64 - 2.0).collect();
            check(&costs, n)?;
        }
        assert_eq!(check(&[3.0; 400], 20)?.cost, 60.0);
        Ok(())
    }

    #[test]
    fn it_agrees_with_every_permutation_and_with_another_solver() -> Result<()> {
        for seed in 0..20 {
            let costs = squared(6, 2, seed);
            let mut best = f64::INFINITY;
            let mut order: Vec<usize> = (0..6).collect();
            permute(&mut order, 0, &mut |p| {
                best = best.min(p.iter().enumerate().map(|(i, j)| costs[i * 6 + j]).sum());
            });
            assert!((assign(&costs, 6)?.cost - best).abs() < 1e-12);
        }
        let n = 200;
        let costs = squared(n, 2, 99);
        let matrix = lapjv::Matrix::from_shape_vec((n, n), costs.clone());
        let theirs = matrix.map_err(|e| Error::Unsupported(e.to_string()))?;
        let (rows, _) = lapjv::lapjv(&theirs).map_err(|e| Error::Unsupported(e.to_string()))?;
        assert!((lapjv::cost(&theirs, &rows) - assign(&costs, n)?.cost).abs() < 1e-9);
        Ok(())
    }

    fn permute(order: &mut Vec<usize>, from: usize, visit: &mut impl FnMut(&[usize])) {
        if from == order.len() {
            return visit(order);
        }
        for i in from..order.len() {
            order.swap(from, i);
            permute(order, from + 1, visit);
            order.swap(from, i);
        }
    }

    #[test]
    fn what_is_no_cost_matrix_is_an_error() {
        assert!(assign(&[1.0; 5], 2).is_err());
        assert!(assign(&[1.0, f64::NAN, 0.0, 1.0], 2).is_err());
    }
}
