// Takes the pictures of the README: the overview, and an event with its decisions, light and dark. `pictures.mjs FOLDER`
import { mkdirSync } from 'node:fs';
import path from 'node:path';

import { launch, openPage } from './support/browser.mjs';
import { furnishedWorld } from './support/furnished.mjs';

const PICTURES = { overview: () => '/', event: (ids) => `/events/${encodeURIComponent(ids.event)}` };

const folder = process.argv[2];
if (!folder) throw new Error('usage: pictures.mjs FOLDER');
mkdirSync(folder, { recursive: true });
const browser = await launch();
const world = await furnishedWorld();
try {
  for (const scheme of ['light', 'dark']) {
    const { page, close } = await openPage(browser, world.base, { width: 1400, height: 900, scheme });
    for (const [name, target] of Object.entries(PICTURES)) {
      await page.goto(world.base + target(world.ids), { waitUntil: 'load' });
      await page.screenshot({ path: path.join(folder, `${name}-${scheme}.png`) });
    }
    await close();
  }
} finally {
  await browser.close();
  await world.stop();
}
