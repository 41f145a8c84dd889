/** The wildcard that stands for the host: `*.example.com` for `a.example.com`. For a name that begins with a dot none does. */
export function wildcardOf(host: string): string {
  return host.replace(/^[^.]+/, "*");
}
