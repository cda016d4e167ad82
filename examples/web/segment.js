// From the files of one patient's slices to a mask, in the browser. Needs the globals of ONNX Runtime and of UTIF.

/** A session of a file that `wcr-med export --standalone` wrote; `content` is an ArrayBuffer. */
export function open(ort, content) {
  return ort.InferenceSession.create(new Uint8Array(content), { executionProviders: ["wasm"] });
}

/** Slices {name, rows, columns, pixels: uint8 RGB} to {slices, rows, columns, mask: Uint8Array of 0 and 1}. */
export async function segment(ort, session, slices) {
  const [{ rows, columns }] = slices;
  const volume = new Uint8Array(slices.length * rows * columns * 3);
  slices.forEach((slice, number) => {
    if (slice.rows !== rows || slice.columns !== columns) throw Error(`${slice.name}: of another size than the first`);
    volume.set(slice.pixels, number * rows * columns * 3);
  });
  // All slices at once: intensities are measured over the whole volume.
  const image = new ort.Tensor("uint8", volume, [slices.length, rows, columns, 3]);
  const { mask } = await session.run({ image }, ["mask"]);
  return { slices: slices.length, rows, columns, mask: mask.data };
}

/** The images among files, in the order of their numbers (2 before 10), without reference masks. */
export function sliceFiles(files) {
  return [...files]
    .filter(({ name }) => /\.(png|tiff?)$/i.test(name) && !/_mask\.[a-z]+$/i.test(name))
    .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}

/** Reads one 8-bit RGB image; others are refused, since the network knows these intensities alone. */
export async function readSlice(file, UTIF) {
  const content = await file.arrayBuffer();
  return /\.png$/i.test(file.name) ? readPng(file, content) : readTiff(file.name, content, UTIF);
}

function readTiff(name, content, UTIF) {
  const [image] = UTIF.decode(content);
  if (String(image?.t258) !== "8,8,8" || (image.t284 ?? [1])[0] !== 1) throw Error(`${name}: not an 8-bit RGB image`);
  checkUpright(name, image.t274?.[0]);
  UTIF.decodeImage(content, image);
  const { width: columns, height: rows } = image;
  return { name, rows, columns, pixels: image.data.subarray(0, rows * columns * 3) };
}

/** Programs differ in whether they turn an image by its orientation tag: its mask would lie wrong in one half of them. */
function checkUpright(name, orientation) {
  if (orientation >= 2 && orientation <= 8)
    throw Error(`${name}: to be turned before it is shown (orientation tag); save it upright`);
}

/** The orientation tag of a PNG's EXIF block; undefined where there is none. */
export function orientationOf(content) {
  const view = new DataView(content);
  for (let start = 8, size; start + 12 <= content.byteLength; start += size + 12) {
    size = view.getUint32(start);
    if (view.getUint32(start + 4) !== 0x65584966) continue; // eXIf
    const exif = new DataView(content, start + 8, Math.min(size, content.byteLength - start - 8));
    const little = exif.getUint8(0) === 0x49;
    const table = exif.getUint32(4, little);
    for (let entry = table + 2, left = exif.getUint16(table, little); left > 0; entry += 12, left--)
      if (exif.getUint16(entry, little) === 274) return exif.getUint16(entry + 8, little);
  }
}

async function readPng(file, content) {
  const [depth, kind] = new Uint8Array(content, 24, 2);
  if (depth !== 8 || kind !== 2) throw Error(`${file.name}: not an 8-bit RGB image`);
  checkUpright(file.name, orientationOf(content));
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const { width: columns, height: rows } = bitmap;
  const context = new OffscreenCanvas(columns, rows).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, columns, rows).data;
  const pixels = new Uint8Array(rows * columns * 3);
  for (let i = 0; i < rows * columns; i++) pixels.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  return { name: file.name, rows, columns, pixels };
}

/** Draws a slice with the outline of its mask. */
export function draw(canvas, slice, mask) {
  const { rows, columns, pixels } = slice;
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  const shown = context.createImageData(columns, rows);
  const inside = (row, column) => row >= 0 && row < rows && column >= 0 && column < columns && mask[row * columns + column];
  for (let row = 0, i = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, i++) {
      const edge =
        inside(row, column) &&
        !(inside(row - 1, column) && inside(row + 1, column) && inside(row, column - 1) && inside(row, column + 1));
      shown.data.set(edge ? [255, 230, 0, 255] : [...pixels.subarray(3 * i, 3 * i + 3), 255], 4 * i);
    }
  context.putImageData(shown, 0, 0);
}
