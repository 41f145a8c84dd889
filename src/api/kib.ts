/** For people. Rounded up, so that what is beyond a bound never reads like the bound itself. */
export function inKib(bytes: number): number {
  return Math.ceil(bytes / 1024);
}
