// Prints the path of an Envoy to use, fetching it if there is none. Needs `npm run build`, which `npm run envoy` does.
import { EnvoyUnavailable, envoySearch, findEnvoy } from "../dist/cli/envoy-binary.js";

try {
  console.log(await findEnvoy(envoySearch(process.env, process.argv[2], (line) => console.error(line))));
} catch (error) {
  if (!(error instanceof EnvoyUnavailable)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
