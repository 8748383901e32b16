//! From a template to the pen's path: a hand that is never twice the same.

use std::f64::consts::TAU;

use genzoo_core::Noise;

use super::pen::Dot;
use super::templates::{Point, TEMPLATES, Template};

/// Points of a curve between two points of a template.
const STEPS: usize = 6;

/// The pen's path for one drawing of `digit`, in pixels of a `size × size` image.
pub(super) fn strokes(digit: u32, size: usize, noise: &mut Noise) -> Vec<Vec<Dot>> {
    let template = choose(TEMPLATES[digit as usize % 10], noise.uniforms(1)[0]);
    let mut paths: Vec<Vec<Point>> = template.strokes.iter().map(|s| smooth(&jittered(s, noise))).collect();
    elastic(&mut paths, noise);
    let z = noise.normals(8);
    turn(&mut paths, z[0], z[1], z[2]);
    let pixel = size as f64 / 28.0;
    let width = pen_width(z[3], pixel);
    fit(&mut paths, size as f64, width, [z[4], z[5], z[6]]);
    pressure(paths, width, noise)
}

fn choose(templates: &'static [Template], u: f64) -> &'static Template {
    let mut sum = 0.0;
    let found = templates.iter().find(|t| {
        sum += t.weight;
        u < sum
    });
    found.unwrap_or(&templates[0])
}

/// Every point moved a little; both copies of a corner alike.
fn jittered(stroke: &[Point], noise: &mut Noise) -> Vec<Point> {
    const SD: f64 = 0.023;
    let z = noise.normals(2 * stroke.len());
    let mut out: Vec<Point> = Vec::with_capacity(stroke.len());
    for (i, p) in stroke.iter().enumerate() {
        let corner = i > 0 && stroke[i - 1] == *p;
        out.push(if corner { out[i - 1] } else { (p.0 + SD * z[2 * i], p.1 + SD * z[2 * i + 1]) });
    }
    out
}

/// A Catmull–Rom curve through the points, broken at corners.
fn smooth(stroke: &[Point]) -> Vec<Point> {
    let mut out = Vec::new();
    for piece in stroke.chunk_by(|a, b| a != b) {
        let at = |i: isize| {
            let last = piece.len() as isize - 1;
            if (0..=last).contains(&i) {
                return piece[i as usize];
            }
            // Beyond an end, the mirror image of the point before it.
            let (end, inner) = if i < 0 { (0, 1.min(last)) } else { (last, (last - 1).max(0)) };
            let (e, n) = (piece[end as usize], piece[inner as usize]);
            (2.0 * e.0 - n.0, 2.0 * e.1 - n.1)
        };
        for i in 0..piece.len().saturating_sub(1) as isize {
            let (a, b, c, d) = (at(i - 1), at(i), at(i + 1), at(i + 2));
            for step in 0..STEPS {
                let t = step as f64 / STEPS as f64;
                let blend = |a: f64, b: f64, c: f64, d: f64| {
                    let (t2, t3) = (t * t, t * t * t);
                    0.5 * (2.0 * b
                        + (c - a) * t
                        + (2.0 * a - 5.0 * b + 4.0 * c - d) * t2
                        + (3.0 * b - a - 3.0 * c + d) * t3)
                };
                out.push((blend(a.0, b.0, c.0, d.0), blend(a.1, b.1, c.1, d.1)));
            }
        }
        out.extend(piece.last());
    }
    out
}

/// A smooth random displacement: three plane waves.
fn elastic(paths: &mut [Vec<Point>], noise: &mut Noise) {
    let z = noise.normals(6);
    let u = noise.uniforms(6);
    let waves: Vec<[f64; 5]> = (0..3)
        .map(|k| {
            let (sin, cos) = (TAU * u[2 * k]).sin_cos();
            let frequency = 4.0 + 1.5 * k as f64;
            [frequency * cos, frequency * sin, TAU * u[2 * k + 1], 0.035 * z[2 * k], 0.035 * z[2 * k + 1]]
        })
        .collect();
    for p in paths.iter_mut().flatten() {
        let (x, y) = *p;
        for [kx, ky, phase, dx, dy] in &waves {
            let wave = (kx * x + ky * y + phase).sin();
            *p = (p.0 + dx * wave, p.1 + dy * wave);
        }
    }
}

/// Slant, rotation and aspect.
fn turn(paths: &mut [Vec<Point>], slant: f64, rotation: f64, aspect: f64) {
    let slant = (0.15 + 0.2 * slant).clamp(-0.35, 0.7);
    let (sin, cos) = (0.1 * rotation.clamp(-3.0, 3.0)).sin_cos();
    let aspect = (0.14 * aspect).exp();
    for p in paths.iter_mut().flatten() {
        let (x, y) = (aspect * p.0 - slant * p.1, p.1);
        *p = (cos * x - sin * y, sin * x + cos * y);
    }
}

/// The width of the pen's line in pixels.
fn pen_width(z: f64, pixel: f64) -> f64 {
    (2.45 * (0.22 * z).exp()).clamp(1.5, 4.2) * pixel.max(0.6)
}

/// Scales the longer side to about 20 of 28 pixels and puts the centre of mass near the middle, as MNIST does,
/// but never so far that ink would touch the rim.
fn fit(paths: &mut [Vec<Point>], size: f64, width: f64, z: [f64; 3]) {
    let ends = |f: fn(&Point) -> f64| {
        let all = || paths.iter().flatten().map(f);
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max))
    };
    let (left, right) = ends(|p| p.0);
    let (top, bottom) = ends(|p| p.1);
    let longest = (right - left).max(bottom - top).max(1e-6);
    let side = size * (20.0 / 28.0) * (1.0 + 0.04 * z[0].clamp(-2.0, 2.0)) - width;
    let scale = side / longest;
    let (mut mass, mut cx, mut cy) = (1e-9, 0.0, 0.0);
    for pair in paths.iter().flat_map(|p| p.windows(2)) {
        let length = (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1);
        mass += length;
        cx += 0.5 * length * (pair[0].0 + pair[1].0);
        cy += 0.5 * length * (pair[0].1 + pair[1].1);
    }
    let rim = 1.0 + 0.6 * width;
    let offset = |z: f64, centre: f64, low: f64, high: f64| {
        let wanted = 0.5 * size + size / 28.0 * 0.5 * z.clamp(-3.0, 3.0) - scale * centre;
        let (least, most) = (rim - scale * low, size - rim - scale * high);
        if least < most { wanted.clamp(least, most) } else { 0.5 * (least + most) }
    };
    let (dx, dy) = (offset(z[1], cx / mass, left, right), offset(z[2], cy / mass, top, bottom));
    for p in paths.iter_mut().flatten() {
        *p = (scale * p.0 + dx, scale * p.1 + dy);
    }
}

/// The pen presses harder here and lighter there.
fn pressure(paths: Vec<Vec<Point>>, width: f64, noise: &mut Noise) -> Vec<Vec<Dot>> {
    let u = noise.uniforms(2);
    let (phase, rate) = (TAU * u[0], 0.1 + 0.15 * u[1]);
    let mut step = 0.0;
    let mut dot = |(x, y): Point| {
        step += 1.0;
        Dot { x, y, radius: 0.5 * width * (1.0 + 0.14 * (rate * step + phase).sin()) }
    };
    paths.into_iter().map(|path| path.into_iter().map(&mut dot).collect()).collect()
}
