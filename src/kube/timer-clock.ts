/** Time as an argument, with timers instead of promises, so that tests own it. */
export type TimerClock = {
  /** Milliseconds since 1970, for times that people read. */
  readonly now: () => number;
  /** Milliseconds since whenever, which nobody sets back. */
  readonly monotonicMs: () => number;
  /** Does the work once, so many milliseconds from now, unless the function that it returns is called before. */
  readonly after: (ms: number, work: () => void) => () => void;
};

/** The clock of the machine. Its timers keep no process alive. */
export const SYSTEM_CLOCK: TimerClock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (ms, work) => {
    const timer = setTimeout(work, ms).unref();
    return () => clearTimeout(timer);
  },
};
