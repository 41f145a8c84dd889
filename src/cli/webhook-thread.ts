import { parentPort, workerData } from "node:worker_threads";
import { readRegex } from "../controller/regexes.ts";
import { serveReviews } from "../webhook/serve-reviews.ts";
import type { ReviewSettings } from "../webhook/webhook.ts";

/** The thread of a webhook. */
const { compile, isWarnOnly }: ReviewSettings = workerData;
if (parentPort === null) throw new Error("this is for a thread");
serveReviews(parentPort, { compile: { ...compile, readRegex }, isWarnOnly });
