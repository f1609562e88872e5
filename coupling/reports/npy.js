// Reads a sample from the content of a .npy file; raises an Error that says what is wrong.

const NUMBERS = { "<f4": Float32Array, "<f8": Float64Array, "|u1": Uint8Array, "|i1": Int8Array, "<i2": Int16Array, "<i4": Int32Array };

function readNpy(content, shape, [low, high]) {
  const bytes = new Uint8Array(content);
  const wanted = `give an array of shape (${shape.join(", ")}) with numbers from ${low} to ${high}`;
  if (bytes.length < 12 || String.fromCharCode(...bytes.slice(1, 6)) !== "NUMPY") throw new Error(`is not a .npy file; ${wanted}`);
  const view = new DataView(content);
  const start = bytes[6] === 1 ? 10 : 12;
  const length = bytes[6] === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder().decode(bytes.slice(start, start + length));
  const type = NUMBERS[/'descr': '([^']*)'/.exec(header)?.[1]];
  const found = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "").split(",").map((n) => n.trim()).filter(Boolean).map(Number);
  if (!type || /'fortran_order': True/.test(header)) throw new Error(`holds another kind of array; ${wanted}, saved as float32`);
  const first = found.length > shape.length ? found.slice(1) : found; // of several samples, the first
  if (first.join() !== shape.join()) throw new Error(`holds an array of shape (${found.join(", ")}); ${wanted}`);
  const size = shape.reduce((product, n) => product * n, 1);
  const values = content.slice(start + length, start + length + size * type.BYTES_PER_ELEMENT);
  if (values.byteLength < size * type.BYTES_PER_ELEMENT) throw new Error("ends before its array does");
  const sample = Float32Array.from(new type(values));
  if (!sample.every((x) => low - 1e-3 <= x && x <= high + 1e-3)) throw new Error(`has numbers outside the range; ${wanted}`);
  return sample;
}
