//! Rows as a table in the terminal, as Markdown, and as a page.
//!
//! | file         | what it holds                                             |
//! |--------------|-----------------------------------------------------------|
//! | [`rank`]     | who is above whom, by intervals; who cannot be told apart   |
//! | `paired`     | models row by row on the test rows they share               |
//! | `section`    | the models on one data set with one budget, in order       |
//! | `glance`     | the first questions, answered in words                    |
//! | `pareto`     | quality against what it costs                             |
//! | `intervals`  | where the likelihoods can lie, on one axis                 |
//! | `curve`      | learning curves                                           |
//! | `chart`      | the figures of a study                                    |
//! | `format`     | numbers as people read them                               |
//! | `terminal`   | the table of the terminal, one line, and all details       |
//! | `markdown`   | the same table in Markdown                                |
//! | `page`       | `report.html`                                             |
//! | `answer`     | a study as text                                           |

mod answer;
mod chart;
mod curve;
mod format;
mod glance;
mod intervals;
mod markdown;
mod page;
mod paired;
mod pareto;
pub mod rank;
mod section;
mod terminal;

pub use answer::answer;
pub use markdown::markdown;
pub use page::html;
pub use terminal::{details, line, terminal};
