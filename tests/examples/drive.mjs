// Uses the page of examples/web as a person does: node drive.mjs URL MODEL OUT SLICE...
// Writes the mask as raw bytes, and a screenshot beside it. CHROMIUM names the browser, PLAYWRIGHT the folder of playwright-core.
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [url, model, out, ...slices] = process.argv.slice(2);
const { chromium } = createRequire(`${process.env.PLAYWRIGHT}/`)("playwright-core");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(String(error)));
  page.on("requestfailed", (request) => console.error(`${request.url()}: ${request.failure()?.errorText}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) console.error(`elsewhere: ${request.url()}`);
  });
  await page.goto(url);
  await page.setInputFiles("#model", model);
  await page.setInputFiles("#slices", slices);
  await page.click("#go");
  await page.waitForFunction(() => /^(Done|Error)/.test(document.getElementById("status").textContent), null, { timeout: 540_000 });
  console.log(await page.textContent("#status"));
  const mask = await page.evaluate(() => (window.found ? Array.from(window.found.mask).join("") : ""));
  writeFileSync(out, Buffer.from(mask.split("").map(Number)));
  await page.screenshot({ path: `${out}.png`, fullPage: true });
} finally {
  await browser.close();
}
