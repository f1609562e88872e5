// Draws with the generators of a model in the browser: a code z from the controls, through onnxruntime-web, to canvases.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const status = byId("status");
const moves = data.directions.map((_, k) => byId(`d${k + 1}`));
const canvases = [...document.querySelectorAll("#stage canvas")];
const most = Number(byId("truncation").max);

// ---- codes ------------------------------------------------------------------------------------------------------

// Uniform numbers in (0, 1), a function of the seed alone (splitmix32).
function uniforms(seed, count) {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (state + 0x9e3779b9) >>> 0;
    let t = state ^ (state >>> 16);
    t = Math.imul(t, 0x21f0aaad);
    t ^= t >>> 15;
    t = Math.imul(t, 0x735a2d97);
    t ^= t >>> 15;
    return ((t >>> 0) + 0.5) / 4294967296;
  });
}

// The normal distribution (Abramowitz and Stegun 7.1.26, to 1e-7) and its quantiles (Acklam, to 1e-9 of the value).
function normalShare(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x) / Math.SQRT2);
  const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const upper = 0.5 * poly * Math.exp(-x * x / 2);
  return x < 0 ? upper : 1 - upper;
}

function normalQuantile(p) {
  const a = [-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716, 2.506628277459239];
  const b = [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1];
  const c = [-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783];
  const d = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1];
  const at = (coefficients, x) => coefficients.reduce((sum, value) => sum * x + value, 0);
  if (p > 0.5) return -normalQuantile(1 - p);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return at(c, q) / at(d, q);
  }
  const q = p - 0.5;
  return q * at(a, q * q) / at(b, q * q);
}

// The code of a number, with every coordinate within the bound; Infinity: no bound.
function codeOf(number, bound) {
  const u = uniforms(number, data.size);
  if (data.prior === "uniform") return u.map((x) => (2 * x - 1) * Math.min(bound, 1));
  const low = bound === Infinity ? 0 : normalShare(-bound);
  return u.map((x) => normalQuantile(low + x * (1 - 2 * low)));
}

const norm = (z) => Math.sqrt(z.reduce((sum, x) => sum + x * x, 0));

// From one code to another: straight, or along the arc (Shoemake 1985), whichever suits the prior.
function between(first, second, share) {
  const straight = first.map((x, i) => x + share * (second[i] - x));
  if (data.interpolation === "straight") return straight;
  const norms = [norm(first), norm(second)];
  const cosine = first.reduce((sum, x, i) => sum + x * second[i], 0) / (norms[0] * norms[1]);
  const angle = Math.acos(Math.max(-1, Math.min(1, cosine)));
  if (!(Math.sin(angle) > 1e-3)) return straight;
  const weights = [Math.sin((1 - share) * angle), Math.sin(share * angle)].map((w) => w / Math.sin(angle));
  const length = norms[0] + share * (norms[1] - norms[0]);
  return first.map((x, i) => length * (weights[0] * x / norms[0] + weights[1] * second[i] / norms[1]));
}

// Into the support of the prior: a cube, or a shell about a sphere.
function inward(z) {
  if (data.prior === "uniform") return z.map((x) => Math.max(-1, Math.min(1, x)));
  const length = norm(z);
  const wanted = Math.max(Math.min(data.shell[0], length), Math.min(data.shell[1], length));
  return z.map((x) => x * wanted / length);
}

let own = null; // the code of the user's own picture, in place of the numbered code

function currentCode() {
  const truncation = Number(byId("truncation").value);
  const bound = truncation >= most ? Infinity : truncation;
  const start = own ?? codeOf(Number(byId("code").value), bound);
  const share = Number(byId("path").value);
  let z = share ? between(start, codeOf(Number(byId("to").value), bound), share) : start;
  const moved = moves.map((input) => Number(input.value));
  if (moved.some((value) => value !== 0)) {
    z = inward(z.map((x, i) => moved.reduce((sum, value, k) => sum + value * data.directions[k][i], x)));
  }
  return z;
}

// ---- the address holds the state, so that a link shows the same -------------------------------------------------

const kept = ["code", "to", "path", "truncation", ...moves.map((input) => input.id)];
const defaults = Object.fromEntries([["code", 1], ["to", 2], ["path", 0], ["truncation", most], ...moves.map((input) => [input.id, 0])]);

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const id of kept) {
    const value = given.get(id);
    byId(id).value = value !== null && Number.isFinite(Number(value)) && value !== "" ? value : defaults[id];
    if (byId(id).value === "") byId(id).value = defaults[id];
  }
}

function writeAddress() {
  const changed = kept.filter((id) => id === "code" || Number(byId(id).value) !== defaults[id]);
  const text = changed.map((id) => `${id}=${byId(id).value}`).join("&");
  try {
    history.replaceState(null, "", `#${text}`);
  } catch {
    // Some browsers forbid it for local files; the picture is drawn all the same.
  }
}

function showValues() {
  const truncation = Number(byId("truncation").value);
  const texts = { path: Number(byId("path").value).toFixed(2), truncation: truncation >= most ? "off" : truncation.toFixed(1) };
  for (const input of moves) texts[input.id] = Number(input.value).toFixed(1);
  for (const output of document.querySelectorAll("output")) output.textContent = texts[output.htmlFor.value];
}

// ---- drawing ----------------------------------------------------------------------------------------------------

let ort = null;
let session = null;
let encoder = null;
let drawing = false;
let waiting = false;

function paint(canvas, sample, domain) {
  const pixels = drawings[domain.drawing](sample, domain.shape, domain.range, domain.width, domain.height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, domain.width, domain.height), 0, 0);
}

// The numbers of a row of a table, in the units of its columns.
function writeRow(sample, domain) {
  const cells = document.querySelectorAll(`table[data-domain="${domain.name}"] td`);
  domain.columns.forEach(({ centre, scale }, i) => { cells[i].textContent = Number((centre + scale * sample[i]).toPrecision(4)); });
}

async function draw() {
  if (!session) return;
  if (drawing) {
    waiting = true;
    return;
  }
  drawing = true;
  do {
    waiting = false;
    const z = currentCode();
    const outputs = await session.run({ z: new ort.Tensor("float32", Float32Array.from(z), [1, data.size]) });
    data.domains.forEach((domain, i) => {
      paint(canvases[i], outputs[domain.name].data, domain);
      writeRow(outputs[domain.name].data, domain);
    });
    explorer.drawn = z;
  } while (waiting);
  drawing = false;
  explorer.count += 1;
}

function changed() {
  showValues();
  writeAddress();
  return draw();
}

// ---- controls ---------------------------------------------------------------------------------------------------

function newCode() {
  own = null;
  byId("path").value = 0;
  byId("code").value = Math.floor(Math.random() * 1000000);
  byId("to").value = Math.floor(Math.random() * 1000000);
  return changed();
}

function reset() {
  for (const input of moves) input.value = 0;
  return changed();
}

let playing = null;

function stop() {
  if (playing !== null) cancelAnimationFrame(playing);
  playing = null;
  byId("play").textContent = "Play path";
  byId("play").setAttribute("aria-pressed", "false");
}

function play() {
  if (playing !== null) return stop();
  byId("play").textContent = "Stop";
  byId("play").setAttribute("aria-pressed", "true");
  let before = null;
  const frame = (now) => {
    if (!drawing) {
      let share = Number(byId("path").value) + (before === null ? 0 : Math.min(now - before, 200) / 4000);
      before = now;
      if (share >= 1) {
        own = null;
        byId("code").value = byId("to").value;
        byId("to").value = Math.floor(Math.random() * 1000000);
        share = 0;
      }
      byId("path").value = share.toFixed(2) === byId("path").value ? share + 0.01 : share;
      changed();
    }
    playing = requestAnimationFrame(frame);
  };
  playing = requestAnimationFrame(frame);
}

async function copyLink() {
  writeAddress();
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied. It shows this code, path and directions.");
  } catch {
    say(`Copy the address of this page: ${location.href}`);
  }
}

function savePicture() {
  const side = 256;
  const picture = document.createElement("canvas");
  picture.width = canvases.length * side;
  picture.height = side;
  const context = picture.getContext("2d");
  context.imageSmoothingEnabled = !canvases[0].classList.contains("small");
  canvases.forEach((canvas, i) => {
    const scale = side / Math.max(canvas.width, canvas.height);
    context.drawImage(canvas, i * side, 0, canvas.width * scale, canvas.height * scale);
  });
  const link = document.createElement("a");
  link.href = picture.toDataURL("image/png");
  link.download = `${data.name}-${byId("code").value}.png`;
  link.click();
}

// The sample in an image file: the largest rectangle of the domain's shape in the middle of the picture.
async function pictureIn(file, domain) {
  const [channels, height, width] = domain.shape;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("is not a picture that this browser can read; choose a PNG or JPEG file");
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (width - bitmap.width * scale) / 2, (height - bitmap.height * scale) / 2, bitmap.width * scale, bitmap.height * scale);
  const pixels = context.getImageData(0, 0, width, height).data;
  const [low, high] = domain.range;
  const plane = width * height;
  const sample = new Float32Array(channels * plane);
  for (let i = 0; i < plane; i++) {
    const colours = [pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2]];
    const gray = 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2];
    for (let c = 0; c < channels; c++) sample[c * plane + i] = low + (high - low) * (channels === 3 ? colours[c] : gray) / 255;
  }
  return sample;
}

async function ownSample(file) {
  const domain = data.domains.find((one) => one.name === data.encoder);
  let sample;
  try {
    sample = domain.is_image ? await pictureIn(file, domain) : readNpy(await file.arrayBuffer(), domain.shape, domain.range);
  } catch (error) {
    return say(`${file.name} ${error.message}.`);
  }
  const canvas = byId("own-picture");
  [canvas.width, canvas.height] = [domain.width, domain.height];
  paint(canvas, sample, domain);
  byId("given").hidden = false;
  const outputs = await encoder.run({ x: new ort.Tensor("float32", sample, [1, ...domain.shape]) });
  own = Array.from(outputs.z.data);
  byId("path").value = 0;
  for (const input of moves) input.value = 0;
  say("Drawn from the code that the encoder guesses for your sample. “New code” returns to drawn codes.");
  return changed();
}

function say(text, failed = false) {
  status.textContent = text;
  status.classList.toggle("failed", failed);
}

// ---- start ------------------------------------------------------------------------------------------------------

const bytesOf = (id) => Uint8Array.from(atob(byId(id).textContent.trim()), (c) => c.charCodeAt(0));
const unzipped = async (id) =>
  new Uint8Array(await new Response(new Blob([bytesOf(id)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());

async function start() {
  readAddress();
  showValues();
  if (typeof WebAssembly !== "object" || typeof DecompressionStream !== "function") {
    const missing = typeof WebAssembly !== "object" ? "WebAssembly" : "DecompressionStream";
    throw new Error(`This browser has no ${missing}, which this page draws with. Use a current version of Firefox, Chrome, Edge or Safari.`);
  }
  const script = URL.createObjectURL(new Blob([await unzipped("runtime-script")], { type: "text/javascript" }));
  ort = await import(script);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = (await unzipped("runtime-binary")).buffer;
  session = await ort.InferenceSession.create(await unzipped("model"));
  if (byId("encoder")) encoder = await ort.InferenceSession.create(await unzipped("encoder"));
  for (const id of kept) byId(id).addEventListener("input", () => {
    if (id === "code") own = null;
    changed();
  });
  byId("new").addEventListener("click", newCode);
  byId("play").addEventListener("click", play);
  byId("copy").addEventListener("click", copyLink);
  byId("save").addEventListener("click", savePicture);
  byId("reset").addEventListener("click", reset);
  byId("own")?.addEventListener("change", (event) => event.target.files[0] && ownSample(event.target.files[0]));
  for (const control of document.querySelectorAll("button, #own")) control.disabled = false;
  window.addEventListener("hashchange", () => { readAddress(); changed(); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "number") return;
    const actions = { n: newCode, p: play, r: reset };
    const action = actions[event.key.toLowerCase()];
    if (action) action();
  });
  await changed();
  say("");
}

const explorer = { drawn: null, count: 0, ready: null };
window.explorer = explorer;
explorer.ready = start().catch((error) => say(error.message, true));
