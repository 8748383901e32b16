"use strict";
// Tables that sort by a click or a key on a heading. The floor and the references stay on top; what has no number goes
// last in either direction; the heading of the models brings back the order of the ranks.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const ranked = [...body.querySelectorAll("tr.model")];
  const headings = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const text = row.cells[column].dataset.key;
    return text === undefined ? NaN : Number(text);
  };
  const sort = (column, direction) => {
    const order = (a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return direction * (x - y);
    };
    body.append(...(column === 0 ? ranked : [...ranked].sort(order)));
    headings.forEach((h) => h.removeAttribute("aria-sort"));
    if (column > 0) headings[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  };
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const first = heading.dataset.higher === undefined ? 1 : -1;
      const again = heading.getAttribute("aria-sort") === (first > 0 ? "ascending" : "descending");
      sort(column, again ? -first : first);
    });
  });
}
