"use strict";
const table = document.getElementById("marks");
const body = table.tBodies[0];
const form = document.querySelector("form.filter");
const status = form.querySelector("[role=status]");

function filter() {
  const name = form.elements["name"].value.trim().toLowerCase();
  const lab = form.elements["lab"].value;
  const check = form.elements["check"].value;
  let shown = 0;
  for (const row of body.rows) {
    const data = row.dataset;
    row.hidden = !(data.name.toLowerCase().includes(name) && (!lab || data.lab === lab) &&
      (!check || data.fails.split(" ").includes(check)));
    shown += row.hidden ? 0 : 1;
  }
  status.textContent = `${shown} of ${body.rows.length} shown`;
}

function key(row, column) {
  const cell = row.cells[column];
  return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
}

function sort(heading) {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = Array.from(body.rows, (row) => [key(row, heading.cellIndex), row]);
  rows.sort(([a], [b]) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, {numeric: true})));
  if (!up) rows.reverse();
  body.append(...rows.map(([, row]) => row));
}

for (const heading of table.tHead.rows[0].cells) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sort(heading));
  heading.append(button);
}
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
filter();
