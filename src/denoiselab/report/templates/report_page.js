"use strict";

// Tables: clicks on a column head sort ascending, then descending, then restore the report's order.

const collator = new Intl.Collator("en", { numeric: true });

/** The number at the start of a cell, such as 30.28 of "30.28 [29.9, 30.6]"; NaN without one. */
function leadingNumber(text) {
  const found = text.replace("\u2212", "-").match(/^[<>≤≥≈~]?\s*([+-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)/i);
  if (!found) return /^\+?(inf|∞)/.test(text) ? Infinity : NaN;
  return Number(found[1].replaceAll(",", ""));
}

/** Rows sorted by a column; empty cells, and cells without a number in a numeric column, come last. */
function sorted(rows, column, right, direction) {
  const texts = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
  const filled = [...texts.values()].filter((text) => text);
  const numeric = right || filled.every((text) => !Number.isNaN(leadingNumber(text)));
  const value = (row) => (numeric ? leadingNumber(texts.get(row)) : texts.get(row));
  const missing = (row) => (numeric ? Number.isNaN(value(row)) : !value(row));
  const order = (a, b) => (numeric ? (a > b) - (a < b) : collator.compare(a, b));
  return [...rows].sort((a, b) => missing(a) - missing(b) || direction * order(value(a), value(b)) || 0);
}

function makeSortable(table) {
  const original = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.ariaSort];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next !== null) head.setAttribute("aria-sort", next ?? "ascending");
      const direction = next === "descending" ? -1 : 1;
      const right = head.style.textAlign === "right";
      table.tBodies[0].append(...(next === null ? original : sorted(original, column, right, direction)));
    });
  });
}

/** Styles the interval after a mean, such as 30.28 [29.9, 30.6]. */
function styleInterval(cell) {
  const found = cell.textContent.match(/^(\S+ )(\[.+\])$/);
  if (!found) return;
  const span = document.createElement("span");
  span.className = "interval";
  span.textContent = found[2];
  (cell.querySelector("strong") ?? cell).replaceChildren(found[1], span);
}

document.querySelectorAll("td").forEach(styleInterval);
document.querySelectorAll("table").forEach((table) => table.tBodies.length && makeSortable(table));

// Tables that fit need no scroll box; without it the table head stays visible.

const fit = new ResizeObserver((entries) => {
  for (const { target } of entries) target.classList.toggle("fits", target.scrollWidth <= target.clientWidth);
});
document.querySelectorAll(".table").forEach((box) => fit.observe(box));

// Slider: two stacked images, the upper one clipped at the divider.

function slider(box) {
  const images = JSON.parse(box.querySelector("script").textContent);
  const [image, left, right] = ["image", "left", "right"].map((name) => box.querySelector(`[name=${name}]`));
  const [stage, range] = [box.querySelector(".stage"), box.querySelector("input")];

  function show(side, view) {
    Object.assign(box.querySelector(`img.${side}`), { src: view.src, alt: view.name });
    box.querySelector(`output.${side}`).textContent = `${view.name}: ${view.psnr}`;
  }

  function choose() {
    const { width, height, views } = images[image.value];
    for (const option of left.options) option.disabled = option.value === right.value;
    if (left.selectedOptions[0].disabled) left.selectedIndex = 0;
    box.style.setProperty("--width", width);
    stage.style.aspectRatio = `${width} / ${height}`;
    show("left", views.find((view) => view.name === left.value));
    show("right", views.find((view) => view.name === right.value));
    move();
  }

  function move() {
    stage.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${Math.round(range.value)} % ${left.value}, the rest ${right.value}`);
  }

  function drag(event) {
    const { x, width } = stage.getBoundingClientRect();
    range.value = (100 * (event.clientX - x)) / width;
    move();
  }

  box.addEventListener("change", choose);
  range.addEventListener("input", move);
  stage.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    range.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && drag(event));
  choose();
}

document.querySelectorAll(".slider").forEach(slider);

// Figures: a click enlarges, another click or Esc closes.

const lightbox = document.querySelector(".lightbox");
lightbox.addEventListener("click", () => lightbox.close());

document.querySelectorAll("p > img").forEach((image) => {
  const button = document.createElement("button");
  button.className = "figure";
  button.ariaLabel = `Enlarge: ${image.alt}`;
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const large = lightbox.querySelector("img");
    Object.assign(large, { src: image.src, alt: image.alt });
    large.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    lightbox.showModal();
  });
});
