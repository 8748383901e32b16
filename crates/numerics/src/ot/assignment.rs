//! The linear assignment problem, exactly: a permutation σ that minimises Σ_i c(i, σ(i)).
//!
//! ```text
//! min Σ c(i, σ(i))  =  max Σ u_i + Σ v_j   subject to   u_i + v_j ≤ c(i, j)
//! ```
//!
//! In three stages: an auction with falling ε finds prices that are nearly right; rows then take their best columns at
//! those prices, and bid without ε; shortest augmenting paths place the rest, and make the answer exact. The prices u, v
//! come with it, so its optimality can be checked: feasible prices whose sum equals the cost prove it.
//! Source: Bertsekas (1988), Annals of Operations Research 14 (auction, ε-scaling); Jonker & Volgenant (1987),
//! Computing 38, 325–340 (augmenting row reduction, shortest paths).

use genzoo_core::{Error, Result};

const FREE: usize = usize::MAX;
/// Independent running minima, so that the compiler can use vector registers.
const LANES: usize = 8;

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

/// Solves the assignment problem for an n × n cost matrix, row-major. O(n³) at worst.
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
    let mut solver = Solver::new(costs, n);
    solver.auction();
    let mut free = solver.take_best();
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

/// The two cheapest columns of a row at the present prices.
struct Best {
    j: usize,
    price: f64,
    second: f64,
}

impl<'a> Solver<'a> {
    /// Prices each column at its cheapest entry.
    fn new(costs: &'a [f64], n: usize) -> Self {
        let mut v = vec![f64::INFINITY; n];
        for row in costs.chunks_exact(n.max(1)) {
            v.iter_mut().zip(row).for_each(|(v, c)| *v = v.min(*c));
        }
        Self { costs, n, v, column_of: vec![FREE; n], row_of: vec![FREE; n] }
    }

    fn row(&self, i: usize) -> &'a [f64] {
        &self.costs[i * self.n..(i + 1) * self.n]
    }

    fn reduced(&self, i: usize, j: usize) -> f64 {
        self.costs[i * self.n + j] - self.v[j]
    }

    fn give(&mut self, i: usize, j: usize) -> usize {
        let owner = std::mem::replace(&mut self.row_of[j], i);
        self.column_of[i] = j;
        if owner != FREE {
            self.column_of[owner] = FREE;
        }
        owner
    }

    fn clear(&mut self) {
        self.column_of.fill(FREE);
        self.row_of.fill(FREE);
    }

    /// Finds prices at which every row can have a column that is within ε of its best, for ε falling to a millionth of
    /// the range of the costs. Only the prices are kept.
    fn auction(&mut self) {
        let (low, high) =
            self.costs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), c| (a.min(*c), b.max(*c)));
        let range = high - low;
        if self.n < 2 || range <= 0.0 {
            return;
        }
        let mut epsilon = range / 16.0;
        while epsilon > 1e-6 * range {
            self.clear();
            let mut waiting: Vec<usize> = (0..self.n).rev().collect();
            // Prices are only a start for what follows, so a war between rows may be left undecided.
            let mut bids = 100 * self.n;
            while let Some(i) = waiting.pop().filter(|_| bids > 0) {
                bids -= 1;
                let best = self.two_best(i);
                self.v[best.j] -= best.second - best.price + epsilon;
                let owner = self.give(i, best.j);
                if owner != FREE {
                    waiting.push(owner);
                }
            }
            epsilon *= 0.25;
        }
    }

    /// Each row takes its best column if nobody has it; the others are returned.
    fn take_best(&mut self) -> Vec<usize> {
        self.clear();
        let mut free = Vec::new();
        for i in 0..self.n {
            let j = self.two_best(i).j;
            if self.row_of[j] == FREE {
                self.give(i, j);
            } else {
                free.push(i);
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
            let best = self.two_best(i);
            let slack = best.second - best.price;
            let lowers = slack > 0.0 && self.v[best.j] - slack < self.v[best.j];
            let mut j = best.j;
            if lowers {
                self.v[j] -= slack;
            } else if self.row_of[j] != FREE {
                j = self.tied(i, &best);
            }
            let owner = self.give(i, j);
            if owner != FREE {
                if lowers {
                    queue.push_front(owner);
                } else {
                    still_free.push(owner);
                }
            }
        }
        still_free
    }

    fn two_best(&self, i: usize) -> Best {
        let row = self.row(i);
        let (mut first, mut second) = ([f64::INFINITY; LANES], [f64::INFINITY; LANES]);
        let least = |a: f64, b: f64| if a < b { a } else { b };
        let (costs, rest) = row.as_chunks::<LANES>();
        let (prices, _) = self.v.as_chunks::<LANES>();
        for (c, v) in costs.iter().zip(prices) {
            for ((c, v), (first, second)) in c.iter().zip(v).zip(first.iter_mut().zip(&mut second)) {
                let price = c - v;
                *second = least(*second, if price > *first { price } else { *first });
                *first = least(*first, price);
            }
        }
        let from = self.n - rest.len();
        let tail = rest.iter().zip(&self.v[from..]).map(|(c, v)| c - v);
        let (mut price, mut other) = (f64::INFINITY, f64::INFINITY);
        for value in first.into_iter().chain(second).chain(tail) {
            if value < price {
                (price, other) = (value, price);
            } else {
                other = least(other, value);
            }
        }
        let j = row.iter().zip(&self.v).position(|(c, v)| c - v == price).unwrap_or(0);
        Best { j, price, second: other }
    }

    /// A column as cheap for row `i` as its best, another one if there is one.
    fn tied(&self, i: usize, best: &Best) -> usize {
        let same = |(j, (c, v)): (usize, (&f64, &f64))| (j != best.j && c - v == best.second).then_some(j);
        self.row(i).iter().zip(&self.v).enumerate().find_map(same).unwrap_or(best.j)
    }

    /// For each free row the shortest path, in reduced costs, to a free column (Dijkstra on the dense graph).
    fn augment(&mut self, free: &[usize]) {
        let n = self.n;
        // The prices of open columns, and −∞ where the search is done: no path there is ever shorter.
        let mut open = vec![0.0; n];
        let mut distance = vec![0.0; n];
        let mut before = vec![0u64; n];
        for &start in free {
            open.copy_from_slice(&self.v);
            distance.fill(f64::INFINITY);
            let mut closed: Vec<(usize, f64)> = Vec::new();
            let (mut i, mut offset) = (start, 0.0);
            let (end, length) = loop {
                let length = relax(self.row(i), &open, offset, i as u64, &mut distance, &mut before);
                let j = self.nearest(&distance, length);
                if self.row_of[j] == FREE {
                    break (j, length);
                }
                i = self.row_of[j];
                closed.push((j, length));
                offset = length - (self.row(i)[j] - self.v[j]);
                open[j] = f64::NEG_INFINITY;
                distance[j] = f64::INFINITY;
            };
            for (j, reached) in closed {
                self.v[j] += reached - length;
            }
            let mut j = end;
            loop {
                let i = before[j] as usize;
                self.row_of[j] = i;
                let next = std::mem::replace(&mut self.column_of[i], j);
                if i == start {
                    break;
                }
                j = next;
            }
        }
    }

    /// The column at this distance; among equals a free one, which ends the search.
    fn nearest(&self, distance: &[f64], length: f64) -> usize {
        let mut found = None;
        for (j, d) in distance.iter().enumerate() {
            if *d == length {
                if self.row_of[j] == FREE {
                    return j;
                }
                found = found.or(Some(j));
            }
        }
        found.unwrap_or(0)
    }
}

/// Shortens the distances of the open columns by paths through row `i`; the least of all distances.
fn relax(row: &[f64], open: &[f64], offset: f64, i: u64, distance: &mut [f64], before: &mut [u64]) -> f64 {
    let mut least = [f64::INFINITY; LANES];
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let (opens, open_rest) = open.as_chunks::<LANES>();
    let (distances, distance_rest) = distance.as_chunks_mut::<LANES>();
    let (befores, before_rest) = before.as_chunks_mut::<LANES>();
    for (((c, v), d), b) in rows.iter().zip(opens).zip(distances).zip(befores) {
        for (((c, v), least), (d, b)) in c.iter().zip(v).zip(&mut least).zip(d.iter_mut().zip(b)) {
            let through = c - v + offset;
            let shorter = through < *d;
            *d = if shorter { through } else { *d };
            *b = if shorter { i } else { *b };
            *least = if *d < *least { *d } else { *least };
        }
    }
    for (((c, v), d), b) in row_rest.iter().zip(open_rest).zip(distance_rest).zip(before_rest) {
        let through = c - v + offset;
        if through < *d {
            (*d, *b) = (through, i);
        }
        least[0] = least[0].min(*d);
    }
    least.into_iter().fold(f64::INFINITY, f64::min)
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
        for (n, d) in [(1, 1), (2, 1), (17, 1), (60, 2), (150, 3), (200, 2), (100, 40), (600, 2)] {
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
    fn it_agrees_with_every_permutation() -> Result<()> {
        for seed in 0..20 {
            let costs = squared(6, 2, seed);
            let mut best = f64::INFINITY;
            let mut order: Vec<usize> = (0..6).collect();
            permute(&mut order, 0, &mut |p| {
                best = best.min(p.iter().enumerate().map(|(i, j)| costs[i * 6 + j]).sum());
            });
            assert!((assign(&costs, 6)?.cost - best).abs() < 1e-12);
        }
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

    /// Clouds on a line have near-ties everywhere; sorting knows the answer.
    #[test]
    fn on_a_line_it_is_sorting() -> Result<()> {
        let n = 700;
        let costs = squared(n, 1, 5);
        let mut noise = Noise::new(5);
        let (mut x, mut y) = (noise.normals(n), noise.normals(n));
        x.sort_by(f64::total_cmp);
        y.sort_by(f64::total_cmp);
        let want: f64 = x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y)).sum();
        assert!((check(&costs, n)?.cost - want).abs() < 1e-10);
        Ok(())
    }

    #[test]
    fn what_is_no_cost_matrix_is_an_error() {
        assert!(assign(&[1.0; 5], 2).is_err());
        assert!(assign(&[1.0, f64::NAN, 0.0, 1.0], 2).is_err());
    }
}
