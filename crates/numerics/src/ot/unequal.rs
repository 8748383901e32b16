//! Optimal transport between samples of different sizes, exactly: the transportation problem with equal weights.
//!
//! ```text
//! min Σ x_ij c_ij,   Σ_j x_ij = 1/n,   Σ_i x_ij = 1/m,   x ≥ 0      =  max mean u + mean v,   u_i + v_j ≤ c_ij
//! ```
//! In units of 1/lcm(n, m) every row supplies and every column takes a whole number, so the flow is integer and the
//! sums are exact. Successive shortest paths in reduced costs; the prices prove the answer.
//!
//! Source: Ahuja, Magnanti & Orlin (1993), Network Flows, §9.7.

use genzoo_core::{Error, Result};

/// A cheapest plan's cost and the prices that prove it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `Σ x_ij c_ij`, of weights that sum to one.
    pub cost: f64,
    /// Prices of the rows.
    pub u: Vec<f64>,
    /// Prices of the columns.
    pub v: Vec<f64>,
}

/// Solves the transportation problem with weights 1/n and 1/m for an n × m cost matrix, row-major.
///
/// # Errors
/// If the matrix has another size, is empty, or holds a number that is not finite.
pub fn transport(costs: &[f64], n: usize, m: usize) -> Result<Plan> {
    if costs.len() != n * m || costs.is_empty() {
        return Err(Error::data("cost matrix", format!("{n}×{m} numbers, not empty"), costs.len()));
    }
    if let Some(bad) = costs.iter().find(|c| !c.is_finite()) {
        return Err(Error::data("cost", "a finite number", bad));
    }
    let mut solver = Solver::new(costs, n, m);
    for row in 0..n {
        while solver.supply[row] > 0 {
            solver.augment(row);
        }
    }
    let units = (n as u64 * (m as u64 / gcd(n as u64, m as u64))) as f64;
    let flows =
        solver.into.iter().enumerate().flat_map(|(j, flows)| flows.iter().map(move |(i, f)| (*i, j, *f)));
    let cost = flows.map(|(i, j, f)| f as f64 * costs[i * m + j]).sum::<f64>() / units;
    Ok(Plan { cost, u: solver.u, v: solver.v })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

struct Solver<'a> {
    costs: &'a [f64],
    m: usize,
    u: Vec<f64>,
    v: Vec<f64>,
    supply: Vec<u64>,
    demand: Vec<u64>,
    /// Per column the rows that flow into it, and how much.
    into: Vec<Vec<(usize, u64)>>,
}

/// Where a column was reached from.
const NOWHERE: usize = usize::MAX;

impl<'a> Solver<'a> {
    fn new(costs: &'a [f64], n: usize, m: usize) -> Self {
        let common = gcd(n as u64, m as u64);
        let mut v = vec![f64::INFINITY; m];
        for row in costs.chunks_exact(m) {
            v.iter_mut().zip(row).for_each(|(v, c)| *v = v.min(*c));
        }
        let least = |row: &[f64]| row.iter().zip(&v).map(|(c, v)| c - v).fold(f64::INFINITY, f64::min);
        let u = costs.chunks_exact(m).map(least).collect();
        let (supply, demand) = (vec![m as u64 / common; n], vec![n as u64 / common; m]);
        Self { costs, m, u, v, supply, demand, into: vec![Vec::new(); m] }
    }

    /// Sends flow from `start` along the shortest path in reduced costs to a column that still takes some.
    fn augment(&mut self, start: usize) {
        let m = self.m;
        let mut distance = vec![f64::INFINITY; m];
        let mut from = vec![NOWHERE; m]; // the row each column was reached from
        let mut open: Vec<usize> = (0..m).collect();
        let mut reached = vec![(start, 0.0, NOWHERE)]; // rows, their distances, the columns they were reached from
        let mut seen = vec![false; self.u.len()];
        seen[start] = true;
        let mut next = 0;
        let mut closed = Vec::new();
        let end = loop {
            while next < reached.len() {
                let (i, length, _) = reached[next];
                let row = &self.costs[i * m..(i + 1) * m];
                let offset = length - self.u[i];
                for &j in &open {
                    let through = row[j] - self.v[j] + offset;
                    if through < distance[j] {
                        distance[j] = through;
                        from[j] = i;
                    }
                }
                next += 1;
            }
            let better = |a: usize, b: usize| {
                let (x, y): (usize, usize) = (open[a], open[b]);
                distance[y] < distance[x] || (distance[y] == distance[x] && self.demand[y] > self.demand[x])
            };
            let at = (1..open.len()).fold(0, |a, b| if better(a, b) { b } else { a });
            let j = open.swap_remove(at);
            if self.demand[j] > 0 {
                break j;
            }
            closed.push(j);
            for &(i, _) in &self.into[j] {
                if !seen[i] {
                    seen[i] = true;
                    reached.push((i, distance[j], j));
                }
            }
        };
        let length = distance[end];
        for &(i, at, _) in &reached {
            self.u[i] += length - at;
        }
        for &j in &closed {
            self.v[j] -= length - distance[j];
        }
        self.push(start, end, &from, &reached);
    }

    fn push(&mut self, start: usize, end: usize, from: &[usize], reached: &[(usize, f64, usize)]) {
        let column_before = |row: usize| reached.iter().find(|r| r.0 == row).map_or(NOWHERE, |r| r.2);
        // The path backwards: column ← row ← column … ← start; flow into a column is taken back on the way.
        let mut path = Vec::new();
        let mut j = end;
        loop {
            let i = from[j];
            let before = column_before(i);
            path.push((j, i, before));
            if i == start || before == NOWHERE {
                break;
            }
            j = before;
        }
        let flow = |into: &[Vec<(usize, u64)>], j: usize, i: usize| {
            into[j].iter().find(|(row, _)| *row == i).map_or(0, |(_, f)| *f)
        };
        let mut amount = self.supply[start].min(self.demand[end]);
        for &(_, i, before) in path.iter().filter(|p| p.2 != NOWHERE) {
            amount = amount.min(flow(&self.into, before, i));
        }
        for &(j, i, before) in &path {
            match self.into[j].iter_mut().find(|(row, _)| *row == i) {
                Some((_, f)) => *f += amount,
                None => self.into[j].push((i, amount)),
            }
            if before != NOWHERE {
                self.into[before].iter_mut().filter(|(row, _)| *row == i).for_each(|(_, f)| *f -= amount);
                self.into[before].retain(|(_, f)| *f > 0);
            }
        }
        self.supply[start] -= amount;
        self.demand[end] -= amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ot::{assign, wasserstein_1d};
    use genzoo_core::Noise;

    fn squared(x: &[f64], y: &[f64], d: usize) -> Vec<f64> {
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        x.chunks(d).flat_map(|a| y.chunks(d).map(move |b| distance(a, b))).collect()
    }

    /// Feasible prices worth as much as the plan prove it, whatever the algorithm did.
    fn check(costs: &[f64], n: usize, m: usize) -> Result<Plan> {
        let plan = transport(costs, n, m)?;
        let scale = costs.iter().fold(1.0f64, |a, c| a.max(c.abs()));
        for (k, c) in costs.iter().enumerate() {
            assert!(plan.u[k / m] + plan.v[k % m] <= c + 1e-12 * scale, "prices break {k}");
        }
        let worth = plan.u.iter().sum::<f64>() / n as f64 + plan.v.iter().sum::<f64>() / m as f64;
        assert!((worth - plan.cost).abs() < 1e-11 * scale, "{worth} {}", plan.cost);
        Ok(plan)
    }

    #[test]
    fn prices_prove_the_plan() -> Result<()> {
        for (n, m, d) in [(1, 1, 1), (1, 7, 2), (7, 1, 2), (12, 18, 1), (40, 25, 3), (31, 37, 2), (60, 90, 5)]
        {
            let mut noise = Noise::new(n as u64);
            check(&squared(&noise.normals(n * d), &noise.normals(m * d), d), n, m)?;
        }
        let whole: Vec<f64> = Noise::new(3).below(4, 20 * 15).into_iter().map(|c| c as f64 - 2.0).collect();
        check(&whole, 20, 15)?;
        assert!((check(&[3.0; 60], 10, 6)?.cost - 3.0).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn on_a_line_it_is_sorting_and_at_equal_sizes_assignment() -> Result<()> {
        let mut noise = Noise::new(9);
        let (x, y) = (noise.normals(45), noise.normals(30));
        let want = wasserstein_1d(&x, &y, 2.0)?;
        assert!((transport(&squared(&x, &y, 1), 45, 30)?.cost - want * want).abs() < 1e-13);
        let costs = squared(&x, &noise.normals(45), 1);
        assert!((transport(&costs, 45, 45)?.cost - assign(&costs, 45)?.cost / 45.0).abs() < 1e-13);
        assert!(transport(&[1.0; 5], 2, 2).is_err() && transport(&[f64::NAN], 1, 1).is_err());
        Ok(())
    }
}
