// The pages of the console, in one table. The test of pages opens each; a link to a page that is not here fails it.

/** Paths with the names of ids; `{}` of a path is one part, percent-encoded. `part` is the name in the navigation. */
export const PAGES = [
  { path: '/', part: 'Overview' },
  { path: '/live', part: 'Live', hasFeed: true },
  { path: '/doctor', part: 'Doctor' },
  { path: '/explain', part: 'Why not?' },
  { path: '/explain?find=OPS-2' },
  { path: '/explain?since=1h&installation={installation}' },
  { path: '/events', part: 'Events' },
  { path: '/events?entity=OPS-2' },
  { path: '/events/{event}' },
  { path: '/deliveries', part: 'Deliveries' },
  { path: '/deliveries?outcome=parked' },
  { path: '/deliveries/{delivery}' },
  { path: '/dead-letters', part: 'Dead letters' },
  { path: '/dead-letters?reason=expired' },
  { path: '/dead-letters/{letter}' },
  { path: '/jobs', part: 'Jobs' },
  { path: '/subscriptions', part: 'Subscriptions' },
  { path: '/subscriptions?failing=true' },
  { path: '/subscriptions?q=none-such' },
  { path: '/subscriptions/{subscription}' },
  { path: '/subscriptions/{failing}' },
  { path: '/subscriptions/{subscription}?tab=decisions' },
  { path: '/subscriptions/{subscription}?tab=deliveries' },
  { path: '/subscriptions/{subscription}?tab=revisions' },
  { path: '/subscriptions/{subscription}?tab=revisions&revision={revision}' },
  { path: '/subscriptions/{subscription}?tab=try' },
  { path: '/subscriptions/{subscription}?tab=backtest' },
  { path: '/subscriptions/{subscription}?tab=backtest&expression=true' },
  { path: '/subscriptions/{subscription}?tab=shadow' },
  { path: '/subscriptions/{shadowed}?tab=shadow' },
  { path: '/endpoints', part: 'Endpoints' },
  { path: '/endpoints/{endpoint}' },
  { path: '/installations', part: 'Installations' },
  { path: '/installations/{installation}' },
  { path: '/sites', part: 'Sites' },
  { path: '/sites/{site}' },
  { path: '/try', part: 'Try a filter' },
  { path: '/try?expression=event.issue.key+%3D+%27A-1%27' },
  { path: '/access', part: 'Access' },
  { path: '/audit', part: 'Audit log' },
  { path: '/codes/{code}' },
  { path: '/docs/api' },
  { path: '/login' },
];

/** Links that are no pages of the console: answers of the API as JSON, and the description of the API. */
const OTHER = /^\/(json\/|openapi\.json$|docs\/|assets\/)/;

/** Returns the path of a page with ids in place of their names. */
export function pathOf(page, ids) {
  return page.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(ids[name]));
}

/** Returns a name of a page for a file. */
export function fileName(page) {
  return page.path === '/' ? 'overview' : page.path.slice(1).replace(/[^\w]+/g, '-').replace(/-$/, '');
}

const patterns = PAGES.map((page) => {
  const [path, query] = page.path.split('?');
  return { path: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`), tab: new URLSearchParams(query).get('tab') };
});

/** Whether the table has the page of a link; tabs are pages of their own. */
export function isKnown(link) {
  const tab = link.searchParams.get('tab');
  return OTHER.test(link.pathname) || patterns.some((one) => one.path.test(link.pathname) && one.tab === tab);
}
