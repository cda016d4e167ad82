// An 8-bit NIfTI-1 volume as axial slices, and a mask as .nii.gz on the file's own grid.
//
// Voxels are reordered, never interpolated. What could give a wrong mask is refused: anything but four dimensions with
// 3 channels last, unsigned 8-bit, unscaled; no place in space, or axes more than 30 degrees off those of the body.

const HEADER_BYTES = 348;
const FIRST_VOXEL = 352;

export const isNifti = ({ name }) => /\.nii(\.gz)?$/i.test(name);

/**
 * Reads a file to {slices, grid}: slices {name, rows, columns, pixels: uint8 RGB} from foot to head, rows from front to
 * back, columns from the patient's right to left; `grid` is for `maskFile`. Throws an error with one line to show.
 */
export async function readNifti(file) {
  const refuse = (why) => {
    throw Error(`${file.name}: ${why}`);
  };
  const content = await unpack(file).catch(() => refuse("damaged, cannot be unpacked"));
  const header = new DataView(content);
  const little = content.byteLength >= FIRST_VOXEL && header.getInt32(0, true) === HEADER_BYTES;
  const magic = () => String.fromCharCode(...new Uint8Array(content, 344, 4));
  if (content.byteLength < FIRST_VOXEL || header.getInt32(0, little) !== HEADER_BYTES || magic() !== "n+1\0")
    refuse("not a NIfTI-1 file in one piece");
  const grid = placed({ header, little, sizes: checked(header, little, content.byteLength, refuse) }, refuse);
  const { slices, rows, columns } = grid;
  const voxels = new Uint8Array(content, Math.trunc(header.getFloat32(108, little)));
  const found = Array.from({ length: slices }, (_, slice) => {
    const pixels = new Uint8Array(rows * columns * 3);
    let i = 0;
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        for (let channel = 0; channel < 3; channel++)
          pixels[i++] = voxels[channel * slices * rows * columns + place(grid, slice, row, column)];
    return { name: `slice ${slice + 1}`, rows, columns, pixels };
  });
  return { slices: found, grid };
}

/** A grid for slices that tell of none: columns run to the left, rows to the back, slices to the head; sides of 1. */
export function unplaced({ slices, rows, columns }) {
  const header = new DataView(new ArrayBuffer(FIRST_VOXEL));
  [columns, rows, slices].forEach((size, axis) => {
    header.setInt16(42 + 2 * axis, size, true);
    header.setFloat32(80 + 4 * axis, 1, true);
    header.setFloat32(280 + 20 * axis, axis === 2 ? 1 : -1, true); // the diagonal of the affine
  });
  header.setFloat32(76, 1, true);
  header.setInt16(254, 2, true); // sform_code: some agreed place, not the scanner's
  return { header, little: true, slices, rows, columns, first: 0, steps: [1, columns, columns * rows] };
}

/** The mask of 0 and 1, slices x rows x columns, as a packed NIfTI file (a Blob). */
export function maskFile(grid, mask) {
  const { slices, rows, columns, little } = grid;
  const content = new Uint8Array(FIRST_VOXEL + mask.length);
  const header = new DataView(content.buffer);
  // Of the input's header only the geometry is kept: its free text may name a patient.
  for (const [begin, end] of [[42, 48], [76, 92], [252, 328]]) // dim and pixdim of space, qform and sform
    content.set(new Uint8Array(grid.header.buffer, begin, end - begin), begin);
  header.setInt32(0, HEADER_BYTES, little);
  [[40, 3], [48, 1], [50, 1], [52, 1], [54, 1], [70, 2], [72, 8]] // dim; datatype and bitpix: unsigned 8-bit
    .forEach(([offset, value]) => header.setInt16(offset, value, little));
  header.setFloat32(108, FIRST_VOXEL, little);
  header.setFloat32(112, 1, little); // scl_slope
  header.setUint8(123, grid.header.getUint8(123) & 7); // unit of length
  content.set(new TextEncoder().encode("n+1\0"), 344);
  let i = 0;
  for (let slice = 0; slice < slices; slice++)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        content[FIRST_VOXEL + place(grid, slice, row, column)] = mask[i++];
  return new Response(new Blob([content]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

/** Where a voxel lies among those of the file. */
const place = ({ first, steps }, slice, row, column) => first + slice * steps[2] + row * steps[1] + column * steps[0];

/** The bytes, unpacked if they are packed; the checksum at the end is compared. */
async function unpack(file) {
  const content = await file.arrayBuffer();
  const [first, second] = new Uint8Array(content);
  if (first !== 0x1f || second !== 0x8b) return content;
  return new Response(new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Voxels along the three axes of space, once the header is sound and the file is as long as it says. */
function checked(header, little, fileSize, refuse) {
  const [nDimensions, ...sizes] = [40, 42, 44, 46].map((offset) => header.getInt16(offset, little));
  const nChannels = header.getInt16(48, little);
  const [slope, intercept] = [112, 116].map((offset) => header.getFloat32(offset, little));
  const offset = header.getFloat32(108, little);
  if (nDimensions !== 4) refuse(`${nDimensions} dimensions, needs 4: three of space, then channels`);
  if (nChannels !== 3) refuse(`${nChannels} channels on its last axis, needs 3`);
  if (header.getInt16(70, little) !== 2 || header.getInt16(72, little) !== 8)
    refuse("its voxels are not unsigned 8-bit; `wcr-med infer` takes any real numbers");
  if (Number.isFinite(slope) && slope !== 0 && !(slope === 1 && intercept === 0))
    refuse("its voxels are scaled (scl_slope, scl_inter); `wcr-med infer` takes it");
  if (!sizes.every((size, axis) => size > 0 && header.getFloat32(80 + 4 * axis, little) > 0))
    refuse("voxels without number or size (dim, pixdim)");
  if (!(offset >= FIRST_VOXEL)) refuse("its voxels would start within the header (vox_offset)");
  const end = offset + 3 * sizes[0] * sizes[1] * sizes[2];
  if (!(end <= fileSize)) refuse("it ends before its last voxel; copy it again");
  return sizes;
}

/** Adds which way through the voxels gives axial slices. */
function placed({ header, little, sizes }, refuse) {
  const strides = [1, sizes[0], sizes[0] * sizes[1]];
  const [counts, steps] = [[], []]; // of columns, rows, slices
  let first = 0;
  directions(header, little, refuse).forEach((direction, axis) => {
    const length = Math.hypot(...direction);
    const shares = direction.map((part) => Math.abs(part) / length);
    const world = shares.indexOf(Math.max(...shares));
    // Within 30 degrees every way of naming the axes gives the same answer, sheared or not. NaN is refused, too.
    if (!(shares[world] >= 0.866) || counts[world] !== undefined)
      refuse("its axes are more than 30 degrees off those of the body (affine)");
    const wanted = direction[world] > 0 === (world === 2); // to the left, to the back, to the head
    counts[world] = sizes[axis];
    steps[world] = wanted ? strides[axis] : -strides[axis];
    if (!wanted) first += (sizes[axis] - 1) * strides[axis];
  });
  const [columns, rows, slices] = counts;
  return { header, little, slices, rows, columns, first, steps };
}

/** Where each axis of voxels leads: [x, y, z], x to the patient's right, y to the front, z to the head. */
function directions(header, little, refuse) {
  const number = (offset) => header.getFloat32(offset, little);
  const [qform, sform] = [252, 254].map((offset) => header.getInt16(offset, little));
  if (Math.min(qform, sform) < 0 || Math.max(qform, sform) > 5 || (qform === 0 && sform === 0))
    refuse("no place in space (sform_code, qform_code): left and right are unknown");
  if (sform > 0) return [0, 1, 2].map((axis) => [0, 1, 2].map((world) => number(280 + 16 * world + 4 * axis)));
  const [b, c, d] = [256, 260, 264].map(number);
  const rest = 1 - (b * b + c * c + d * d);
  if (!(rest > -1e-6)) refuse("its quaternion is no rotation");
  const a = Math.sqrt(Math.max(rest, 0));
  const side = number(76) === -1 ? -1 : 1; // of a left-handed file
  return [
    [a * a + b * b - c * c - d * d, 2 * (b * c + a * d), 2 * (b * d - a * c)],
    [2 * (b * c - a * d), a * a + c * c - b * b - d * d, 2 * (c * d + a * b)],
    [2 * (b * d + a * c), 2 * (c * d - a * b), a * a + d * d - b * b - c * c].map((part) => side * part),
  ];
}
