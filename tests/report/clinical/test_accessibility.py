"""Rules of accessibility, checked by axe-core in a browser. Needs node, playwright-core, axe-core and Chromium.

`npm install playwright-core axe-core` in any folder, and NODE_PATH set to its node_modules.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = """
const { chromium } = require("playwright-core");
const fs = require("fs");
(async () => {
  const [executablePath, ...pages] = process.argv.slice(1);
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  const found = [];
  for (const path of pages) {
    const context = await browser.newContext({ bypassCSP: true, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    page.on("request", r => {
      if (!/^(file|data):/.test(r.url())) found.push({ id: "request", impact: "critical", path: r.url() });
    });
    await page.goto("file://" + path);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > 1280);
    if (wide) found.push({ id: "page scrolls sideways", impact: "serious", path });
    await page.evaluate(() => document.querySelectorAll("details").forEach(d => { d.open = true; }));
    await page.addScriptTag({ content: fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8") });
    const result = await page.evaluate(() => axe.run());
    for (const { id, impact, nodes } of result.violations)
      found.push({ id, impact, path, html: nodes[0].html.slice(0, 200) });
    await context.close();
  }
  await browser.close();
  console.log(JSON.stringify(found));
})();
"""


@pytest.mark.slow
def test_no_serious_fault(pages):
    node, browser = shutil.which("node"), shutil.which("chromium") or shutil.which("google-chrome")
    if node is None or browser is None:
        pytest.skip("node or Chromium is not installed")
    roots = [Path(entry) for entry in os.environ.get("NODE_PATH", "").split(os.pathsep) if entry]
    if not any((root / "axe-core").is_dir() and (root / "playwright-core").is_dir() for root in roots):
        pytest.skip("NODE_PATH names no folder with playwright-core and axe-core")
    command = [node, "-e", SCRIPT, browser, *(str(path) for path in pages.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    faults = [fault for fault in json.loads(done.stdout) if fault["impact"] in ("serious", "critical")]
    assert not faults
