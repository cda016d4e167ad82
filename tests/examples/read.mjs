// Reads NIfTI files with examples/web/nifti.js: node read.mjs MODULE OUT FILE...
// For each, writes into OUT the voxels as read (NAME.raw), and where the first channel is above 127 as NAME_mask.nii.gz.
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

const [module, out, ...paths] = process.argv.slice(2);
const { maskFile, readNifti } = await import(pathToFileURL(module));
for (const path of paths) {
  const name = basename(path, ".nii");
  const { slices, grid } = await readNifti(new File([readFileSync(path)], name));
  const voxels = Buffer.concat(slices.map(({ pixels }) => pixels));
  writeFileSync(`${out}/${name}.raw`, voxels);
  const mask = Uint8Array.from({ length: voxels.length / 3 }, (_, n) => voxels[3 * n] > 127);
  writeFileSync(`${out}/${name}_mask.nii.gz`, Buffer.from(await (await maskFile(grid, mask)).arrayBuffer()));
}
