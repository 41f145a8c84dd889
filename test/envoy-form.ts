export { envoyForm } from "../src/envoy/form.ts";
