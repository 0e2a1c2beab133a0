// Uses a page with the Tab key alone: what can be clicked is reached in turn, and one sees where the focus is.

// A page with more is not walked to its end: its tables repeat.
const STEPS_MAX = 120;

/** Returns what is wrong for those who use the keyboard. */
export async function keyboardProblems(page) {
  await page.evaluate(() => {
    // Tab begins at what had the focus last: here the page itself, not a field that takes it at once.
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute('tabindex');
  });
  const expected = await page.evaluate(() => {
    const all = document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary');
    const shown = [...all].filter((one) => one.checkVisibility() && !one.disabled);
    shown.forEach((one, at) => { one.dataset.step = at; });
    return shown.length;
  });
  const problems = [];
  const reached = new Set();
  for (let step = 0; step < Math.min(expected, STEPS_MAX) + 20; step++) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate(() => {
      const one = document.activeElement;
      if (!one || one === document.body) return null;
      const style = getComputedStyle(one);
      const isShown = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2) || style.boxShadow !== 'none';
      return { step: one.dataset.step, id: one.id, isShown, html: one.outerHTML.slice(0, 120) };
    });
    if (!focused) break;
    if (!focused.isShown) problems.push(`the focus is not seen: ${focused.html}`);
    if (focused.step !== undefined) reached.add(Number(focused.step));
    if (step === 0 && focused.step !== '0') problems.push(`the first Tab reaches ${focused.html}`);
  }
  const missed = [...Array(Math.min(expected, STEPS_MAX)).keys()].filter((at) => !reached.has(at));
  for (const at of missed.slice(0, 5)) {
    const html = await page.locator(`[data-step="${at}"]`).evaluate((one) => one.outerHTML.slice(0, 120));
    problems.push(`Tab does not reach ${html}`);
  }
  return problems;
}
