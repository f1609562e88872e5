// The built-in drawings of samples that are not images: the same pixels as coupling/data/drawings.py makes.
//
// Each takes the numbers of one sample, its shape and its range, and returns the pixels as RGBA, row by row.

const HEIGHT = 64;
const AXIS = 0.75;
const STOPS = [[0, 0, 0], [0.18, 0.09, 0.4], [0.55, 0.14, 0.47], [0.9, 0.32, 0.28], [0.98, 0.67, 0.25], [1, 1, 0.85]];

const shareOf = (value, [low, high]) => {
  const share = (value - low) / (high - low);
  return Number.isNaN(share) ? 0 : Math.max(0, Math.min(1, share));
};

// To the nearest whole number, halves to the even one, as torch rounds.
function rounded(x) {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

// The row of pixels of a value, from 0 at the bottom.
const rowOf = (value, range) => rounded(shareOf(value, range) * (HEIGHT - 1));

// Black where ``inside(row, x)`` says so, a gray line at zero, else white, as in the columns of ``gap(x)``.
function painted(width, range, inside, gap = () => false) {
  const pixels = new Uint8ClampedArray(4 * HEIGHT * width).fill(255);
  const axis = range[0] < 0 && range[1] > 0 ? rowOf(0, range) : -1;
  for (let y = 0; y < HEIGHT; y++) {
    const row = HEIGHT - 1 - y;
    for (let x = 0; x < width; x++) {
      const gray = gap(x) ? 255 : inside(row, x) ? 0 : row === axis ? rounded(AXIS * 255) : 255;
      pixels.fill(gray, 4 * (y * width + x), 4 * (y * width + x) + 3);
    }
  }
  return pixels;
}

function line(sample, shape, range, width) {
  const last = sample.length - 1;
  const at = (place) => {
    const before = Math.min(Math.floor(place), last);
    const after = Math.min(before + 1, last);
    return rowOf(sample[before] + (place - before) * (sample[after] - sample[before]), range);
  };
  const lowest = [];
  const highest = [];
  for (let x = 0; x < width; x++) {
    const [left, right] = [(x * last) / width, ((x + 1) * last) / width];
    const rows = [at(left), at(right)];
    for (let place = Math.ceil(left); place < right; place++) rows.push(at(place));
    lowest.push(Math.min(...rows));
    highest.push(Math.max(...rows));
  }
  return painted(width, range, (row, x) => row >= lowest[x] && row <= highest[x]);
}

function bars(sample, shape, range, width) {
  const wide = width / sample.length;
  const zero = rowOf(range[0] <= 0 && range[1] >= 0 ? 0 : range[0], range);
  const rows = Array.from(sample, (value) => rowOf(value, range));
  const inside = (row, x) => {
    const end = rows[Math.floor(x / wide)];
    return row >= Math.min(end, zero) && row <= Math.max(end, zero);
  };
  return painted(width, range, inside, (x) => x % wide === wide - 1);
}

// Colours of numbers of shape (rows, columns), each as a rectangle of pixels.
function heatMap(sample, shape, range, width, height) {
  const [rows, columns] = shape.slice(-2);
  const [tall, wide] = [height / rows, width / columns];
  const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = shareOf(sample[Math.floor(y / tall) * columns + Math.floor(x / wide)], range) * (STOPS.length - 1);
      const below = Math.min(Math.floor(place), STOPS.length - 2);
      for (let c = 0; c < 3; c++) {
        const colour = STOPS[below][c] + (place - below) * (STOPS[below + 1][c] - STOPS[below][c]);
        pixels[4 * (y * width + x) + c] = rounded(255 * colour);
      }
    }
  }
  return pixels;
}

// Pixels of an image, gray or colour, as they are.
function image(sample, shape, range, width, height) {
  const plane = width * height;
  const pixels = new Uint8ClampedArray(4 * plane).fill(255);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = rounded(255 * shareOf(sample[(shape[0] === 3 ? c : 0) * plane + i], range));
  }
  return pixels;
}

const drawings = { image, line, bars, "heat-map": heatMap, "false-colours": heatMap };
