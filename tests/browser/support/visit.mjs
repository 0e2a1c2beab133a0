// A visit of somebody who looks for a cause: begins at the overview and counts clicks.
import { until } from './processes.mjs';

export class Visit {
  constructor(page, base) {
    this.page = page;
    this.base = base;
    this.clicks = 0;
  }

  /** Opens the overview, and again until it says this. */
  async begin(text = /./) {
    this.clicks = 0;
    await until(async () => {
      await this.page.goto(this.base);
      return text.test(await this.text());
    }, `the overview says ${text}`).catch(async (error) => this.#fail(error));
  }

  /** Clicks a link or a button of this name. */
  async click(role, name) {
    await this.page.getByRole(role, { name, exact: typeof name === 'string' }).first().click();
    this.clicks++;
  }

  /** Clicks the first link to a path that begins like this, in the content of the page. */
  async clickLinkTo(start) {
    await this.page.locator(`main a[href^="${start}"]`).first().click();
    this.clicks++;
  }

  /** Asks the search of the bar: typing, and a click. */
  async find(text) {
    await this.page.getByRole('searchbox').fill(text);
    await this.click('button', 'Find');
  }

  /** Waits until the page says this, and loads it again until then, as somebody does who waits for it. */
  async sees(text) {
    await until(async () => {
      if (text.test(await this.text())) return true;
      await this.page.reload();
      return false;
    }, `${this.page.url()} says ${text}`, 20_000).catch(async (error) => this.#fail(error));
  }

  async text() {
    return (await this.page.locator('main').innerText()).replace(/\s+/g, ' ');
  }

  async #fail(error) {
    throw new Error(`${error.message}; it says:\n${await this.text()}`);
  }
}
