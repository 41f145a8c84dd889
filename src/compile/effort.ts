/** Counts what is done, so that a test can hold it against the size of what was asked. It is no clock. */
export type Effort = {
  /** Nodes of zones passed, delegations followed, routes looked at. */
  steps: number;
};
