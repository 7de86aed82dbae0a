/** A list that opens inside a popover: a click on it is none outside, which would close both. */
export const INSIDE = { withinPortal: false };
