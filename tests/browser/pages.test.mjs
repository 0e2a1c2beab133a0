// Every page, wide and narrow, light and dark, with and without scripts: it answers, it is accessible to all, and nothing is
// requested elsewhere. Writes a picture of each to target/console/.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { accessibilityProblems, launch, openPage } from './support/browser.mjs';
import { furnishedWorld } from './support/furnished.mjs';
import { keyboardProblems } from './support/keyboard.mjs';
import { PAGES, fileName, isKnown, pathOf } from './support/pages.mjs';
import { ROOT } from './support/processes.mjs';

const VIEWS = [1400, 400].flatMap((width) =>
  ['light', 'dark'].flatMap((scheme) => [true, false].map((scripts) => ({ width, scheme, scripts }))));
const PICTURES = path.join(ROOT, 'target/console');

let world;
let browser;
/** The open pages by view. */
let opened = [];
/** Paths that pages link, with the page that has the link. */
const linked = new Map();

before(async () => {
  browser = await launch();
  world = await furnishedWorld();
  opened = await Promise.all(VIEWS.map((view) => open(view)));
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

async function open(view) {
  const twin = view.scripts ? null : (await openPage(browser, world.base, { ...view, scripts: true })).page;
  return { view, twin, ...(await openPage(browser, world.base, view)) };
}

for (const one of PAGES) {
  test(`page ${one.path}`, async () => {
    const problems = new Map();
    for (const { view, page, twin, wrong } of opened) {
      const name = `${view.width} ${view.scheme}${view.scripts ? '' : ' plain'}`;
      wrong.length = 0;
      const found = await problemsOf(page, twin, one, view).catch((error) => [String(error)]);
      for (const problem of new Set([...found, ...wrong])) problems.set(problem, [...(problems.get(problem) ?? []), name]);
    }
    const lines = [...problems].map(([problem, views]) => `${problem}\n  in: ${views.join(', ')}`);
    assert.ok(!lines.length, lines.join('\n'));
  });
}

async function problemsOf(page, twin, one, view) {
  const url = world.base + pathOf(one, world.ids);
  const answer = await page.goto(url, { waitUntil: 'load' });
  if (one.hasFeed && view.scripts) await page.getByText('connected', { exact: true }).waitFor();
  const file = `${fileName(one)}-${view.width}-${view.scheme}${view.scripts ? '' : '-plain'}.png`;
  await page.screenshot({ path: path.join(PICTURES, file), fullPage: true });
  const problems = [];
  if (answer.status() !== 200) problems.push(`status ${answer.status()}`);
  const headings = await page.locator('h1').allInnerTexts();
  if (headings.length !== 1 || !headings[0].trim()) problems.push(`headings: ${JSON.stringify(headings)}`);
  const rest = await page.evaluate(() => {
    const unnamed = [...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter((field) => !field.labels.length);
    return {
      tooWide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      unnamed: unnamed.map((field) => field.outerHTML),
      links: [...document.querySelectorAll('a[href]')].map((link) => link.href),
    };
  });
  if (rest.tooWide > 0) problems.push(`the page is ${rest.tooWide} px too wide`);
  problems.push(...rest.unnamed.map((field) => `without a label: ${field}`));
  problems.push(...(await accessibilityProblems(page, twin)));
  rest.links.filter((link) => !linked.has(link)).forEach((link) => linked.set(link, url));
  if (view.scripts && view.scheme === 'light') problems.push(...(await keyboardProblems(page)));
  return problems;
}

test('navigation has the pages of the table, in both directions', async () => {
  const { page } = opened[0];
  await page.goto(world.base);
  const links = await page.locator('nav.parts a').evaluateAll((all) => all.map((link) => [link.textContent, new URL(link.href).pathname]));
  const expected = PAGES.filter((one) => one.part).map((one) => [one.part, one.path]);
  assert.deepEqual(new Map(links.sort()), new Map(expected.sort()));
});

test('every page that is linked is in the table, and answers', async () => {
  const problems = [];
  const { page } = opened[0];
  const seen = new Map();
  for (const [link, from] of linked) {
    const url = new URL(link);
    if (url.origin !== world.base) {
      problems.push(`${from} links ${link}`);
      continue;
    }
    if (!isKnown(url)) problems.push(`${from} links ${link}, which is not in the table`);
    // A few pages of each kind.
    const kind = url.pathname.split('/').slice(0, 3 - (url.pathname.split('/').length > 2)).join('/') + [...url.searchParams.keys()].join();
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
    if (seen.get(kind) > 5) continue;
    const answer = await page.request.get(link);
    if (answer.status() !== 200) problems.push(`${from} links ${link}, which answers ${answer.status()}`);
  }
  assert.ok(linked.size > 100, 'pages link each other');
  assert.ok(!problems.length, problems.join('\n'));
});
