// Two stacked images, the upper one clipped at the divider. When zoomed in, the image scrolls beneath the divider.

const HEIGHT = 0.72; // maximum share of the screen height
const ENLARGED = 2; // maximum enlargement of a small image shown whole

export default function ({ parentElement, data }) {
  const one = (selector) => parentElement.querySelector(selector);
  const [left, right, range] = [one("[name=left]"), one("[name=right]"), one("input")];
  const [box, frame, scroller, stage] = [".comparison", ".window", ".scroller", ".stage"].map(one);
  const buttons = [...parentElement.querySelectorAll("[data-zoom]")];
  const zoom = () => Number(box.dataset.zoom ?? 0);

  function fill(select, fallback) {
    const wanted = data.views.some((view) => view.name === select.value) ? select.value : fallback;
    select.replaceChildren(...data.views.map(({ name }) => new Option(name, name, false, name === wanted)));
  }

  function show(side, name) {
    const view = data.views.find((candidate) => candidate.name === name);
    const src = zoom() && view.detail ? view.detail : view.whole;
    const image = one(`img.${side}`);
    if (image.src !== src) image.src = src;
    image.alt = name;
    one(`output.${side}`).textContent = view.note ? `${name}: ${view.note}` : name;
  }

  /** Set the size of window and stage in CSS pixels: the whole image fits the window; zoomed in, it has its own size. */
  function lay() {
    const [width, height] = data.whole;
    const most = Math.min(box.clientWidth, ENLARGED * width, (HEIGHT * innerHeight * width) / height);
    const size = [Math.round(most), Math.round((most * height) / width)];
    const scaled = (zoom() ? (data.detail ?? data.whole) : size).map((side) => side * (zoom() || 1));
    Object.assign(frame.style, { width: `${Math.min(size[0], scaled[0])}px`, height: `${Math.min(size[1], scaled[1])}px` });
    box.style.setProperty("--width", frame.style.width);
    Object.assign(stage.style, { width: `${scaled[0]}px`, height: `${scaled[1]}px` });
    frame.classList.toggle("zoomed", zoom() > 0);
    for (const button of buttons) button.ariaPressed = String(Number(button.dataset.zoom) === zoom());
    move();
  }

  function move() {
    const cut = scroller.scrollLeft + (range.value / 100) * frame.clientWidth;
    one("img.left").style.clipPath = `inset(0 ${Math.max(0, stage.clientWidth - cut)}px 0 0)`;
    frame.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${Math.round(range.value)} % ${left.value}, the rest ${right.value}`);
  }

  function choose() {
    show("left", left.value);
    show("right", right.value);
    lay();
  }

  function magnify(times) {
    const [x, y] = [
      (scroller.scrollLeft + frame.clientWidth / 2) / stage.clientWidth,
      (scroller.scrollTop + frame.clientHeight / 2) / stage.clientHeight,
    ];
    box.dataset.zoom = times;
    choose();
    scroller.scrollTo(x * stage.clientWidth - frame.clientWidth / 2, y * stage.clientHeight - frame.clientHeight / 2);
    move();
  }

  function divide(event) {
    const { x, width } = frame.getBoundingClientRect();
    range.value = (100 * (event.clientX - x)) / width;
    move();
  }

  let drag = null; // handles movements of a pressed pointer

  frame.onpointerdown = (event) => {
    const grabbed = event.target.closest(".handle");
    if (zoom() && !grabbed && event.pointerType === "touch") return; // the browser scrolls
    event.preventDefault();
    range.focus({ preventScroll: true });
    frame.setPointerCapture?.(event.pointerId);
    drag = zoom() && !grabbed ? (moved) => scroller.scrollBy(-moved.movementX, -moved.movementY) : divide;
    if (drag === divide) divide(event);
  };
  frame.onpointermove = (event) => drag?.(event);
  frame.onpointerup = frame.onpointercancel = () => (drag = null);
  scroller.onscroll = move;
  range.oninput = move;
  left.onchange = right.onchange = choose;
  for (const button of buttons) button.onclick = () => magnify(Number(button.dataset.zoom));

  fill(left, data.views[0].name);
  fill(right, data.right);
  choose();
  const watch = new ResizeObserver(lay);
  watch.observe(box);
  return () => watch.disconnect();
}
