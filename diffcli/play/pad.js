// The drawing pad: its value is a PNG as a data URL, empty where nothing is drawn.
const canvas = element.querySelector("canvas");
const cursor = element.querySelector(".pad-cursor");
const hint = element.querySelector(".pad-hint");
const file = element.querySelector("input");
const paper = canvas.getContext("2d", { willReadFrequently: true });
const SIDE = canvas.width;
const EVERY = 250; // milliseconds between two drafts of a stroke
const PACE = SIDE / 28; // of an arrow key
let from = null; // where the stroke is
let sent = 0; // when the last draft was
let keys = { x: SIDE / 2, y: SIDE / 2, down: false };

function blank() {
  paper.fillStyle = "black";
  paper.fillRect(0, 0, SIDE, SIDE);
}

function say(empty) {
  const value = empty ? "" : canvas.toDataURL("image/png");
  hint.hidden = !empty;
  sent = performance.now();
  props.value = value;
  trigger("input");
}

function line(to) {
  paper.strokeStyle = "white";
  paper.lineWidth = props.pen;
  paper.lineCap = paper.lineJoin = "round";
  paper.beginPath();
  paper.moveTo(from.x, from.y);
  paper.lineTo(to.x, to.y + 0.01); // a point is a line, too
  paper.stroke();
  from = to;
  hint.hidden = true;
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: ((event.clientX - box.left) * SIDE) / box.width, y: ((event.clientY - box.top) * SIDE) / box.height };
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  cursor.hidden = true;
  from = place(event);
  line(from);
});
canvas.addEventListener("pointermove", (event) => {
  if (!from || keys.down) return;
  for (const part of event.getCoalescedEvents?.() ?? []) line(place(part));
  line(place(event));
  if (performance.now() - sent > EVERY) say(false);
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => {
    if (from && !keys.down) {
      from = null;
      say(false);
    }
  });
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function showCursor() {
  cursor.hidden = false;
  cursor.style.left = `${(100 * keys.x) / SIDE}%`;
  cursor.style.top = `${(100 * keys.y) / SIDE}%`;
  cursor.classList.toggle("down", keys.down);
}
canvas.addEventListener("keydown", (event) => {
  if (event.key === " " || event.key === "Enter") {
    keys.down = !keys.down;
    from = keys.down ? { x: keys.x, y: keys.y } : null;
    if (keys.down) line(from);
    say(false);
  } else if (MOVES[event.key]) {
    const [x, y] = MOVES[event.key];
    keys.x = Math.min(SIDE, Math.max(0, keys.x + x * PACE));
    keys.y = Math.min(SIDE, Math.max(0, keys.y + y * PACE));
    if (keys.down) {
      line({ x: keys.x, y: keys.y });
      say(false);
    }
  } else return;
  event.preventDefault();
  showCursor();
});
canvas.addEventListener("blur", () => {
  if (keys.down) from = null;
  keys.down = false;
  cursor.hidden = true;
});

element.querySelector(".pad-clear").addEventListener("click", () => {
  blank();
  say(true);
});
element.querySelector(".pad-invert").addEventListener("click", () => {
  paper.globalCompositeOperation = "difference";
  paper.fillStyle = "white";
  paper.fillRect(0, 0, SIDE, SIDE);
  paper.globalCompositeOperation = "source-over";
  say(false);
});
file.addEventListener("change", () => {
  const [chosen] = file.files;
  file.value = ""; // so that the same file can be chosen again
  if (!chosen) return;
  const reader = new FileReader();
  reader.onload = () => trigger("upload", { name: chosen.name, url: reader.result });
  reader.onerror = () => trigger("upload", { name: chosen.name, url: "" });
  reader.readAsDataURL(chosen);
});

// What the server made of an upload.
watch("value", () => {
  if (!props.value || props.value === shown()) return;
  const picture = new Image();
  picture.onload = () => {
    blank();
    paper.imageSmoothingEnabled = picture.width > SIDE / 2;
    paper.drawImage(picture, 0, 0, SIDE, SIDE);
    hint.hidden = true;
  };
  picture.src = props.value;
});
function shown() {
  return canvas.toDataURL("image/png");
}

blank();
