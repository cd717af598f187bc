/** How much of a plan is in force. */
export interface CaptureExtent {
  /** `drained`: nothing new is captured, what is captured lives on. */
  readonly capture: "active" | "drained" | "absent";
  readonly guard: "active" | "absent";
}
