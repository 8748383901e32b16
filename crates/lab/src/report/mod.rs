//! Rows as a table in the terminal, as Markdown, and as a page.
//!
//! | file         | what it holds                                             |
//! |--------------|-----------------------------------------------------------|
//! | [`rank`]     | who is above whom, by intervals                           |
//! | `section`    | the rows of one data set, in order, with their floors      |
//! | `format`     | numbers as people read them                               |
//! | `terminal`   | the table of the terminal, one line, and all details       |
//! | `markdown`   | the same table in Markdown                                |
//! | `page`       | `report.html`                                             |

mod curve;
mod format;
mod intervals;
mod markdown;
mod page;
pub mod rank;
mod section;
mod terminal;

pub use markdown::markdown;
pub use page::html;
pub use terminal::{details, line, terminal};
