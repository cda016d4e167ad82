// One run of a model in onnxruntime-web: node runtimes_worker.mjs FOLDER, where FOLDER/job.json says what; see runtimes.py.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const folder = process.argv[2];
const { model, inputs, outputs, packages } = JSON.parse(readFileSync(`${folder}/job.json`, "utf8"));
const ort = createRequire(`${packages}/`)("onnxruntime-web");
const ARRAYS = { uint8: Uint8Array, float32: Float32Array };

try {
  const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(model)), { executionProviders: ["wasm"] });
  const feed = Object.entries(inputs).map(([name, { type, dims }]) => {
    const bytes = new Uint8Array(readFileSync(`${folder}/${name}`));
    return [name, new ort.Tensor(type, new ARRAYS[type](bytes.buffer), dims)];
  });
  const results = await session.run(Object.fromEntries(feed), outputs);
  const found = {};
  for (const name of outputs) {
    const { type, dims, data } = results[name];
    writeFileSync(`${folder}/${name}.out`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    found[name] = { type, dims };
  }
  console.log(JSON.stringify(found));
} catch (error) {
  console.error(error.message ?? String(error));
  process.exit(1);
}
