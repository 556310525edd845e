let pages = 0;
/** True for every page but the first: a fresh load leaves the focus where the browser puts it. */
export function pageShown(): boolean {
  return pages++ > 0;
}
