// Uses the page of examples/web as a person does: node drive.mjs URL MODEL OUT IMAGE...
// Saves the mask that the page offers in the folder OUT, and a screenshot. CHROMIUM names the browser, PLAYWRIGHT the
// folder of playwright-core.
import { createRequire } from "node:module";

const [url, model, out, ...images] = process.argv.slice(2);
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
  await page.setInputFiles("#images", images);
  await page.click("#go");
  await page.waitForFunction(() => /^(Done|Error)/.test(document.getElementById("status").textContent), null, { timeout: 540_000 });
  console.log(await page.textContent("#status"));
  if (await page.isVisible("#save")) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
    await download.saveAs(`${out}/${download.suggestedFilename()}`);
  }
  await page.screenshot({ path: `${out}/page.png`, fullPage: true });
} finally {
  await browser.close();
}
