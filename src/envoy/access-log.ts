import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AccessLogSchema } from "#proto/envoy/config/accesslog/v3/accesslog_pb.js";
import { StdoutAccessLogSchema } from "#proto/envoy/extensions/access_loggers/stream/v3/stream_pb.js";
import { filter } from "./extension.ts";

/**
 * One line of JSON on Envoy's standard output for each request, or each connection that is forwarded. What comes from
 * clients stands in it as values only, which Envoy escapes, and is cut where it could be long.
 */
const FORMAT = {
  start_time: "%START_TIME%",
  client: "%DOWNSTREAM_REMOTE_ADDRESS%",
  listener: "%DOWNSTREAM_LOCAL_ADDRESS%",
  server_name: "%REQUESTED_SERVER_NAME%",
  tls_version: "%DOWNSTREAM_TLS_VERSION%",
  protocol: "%PROTOCOL%",
  method: "%REQ(:METHOD)%",
  host: "%REQ(:AUTHORITY):256%",
  // Before a rewrite; the header is Envoy's alone.
  path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):4096%",
  status: "%RESPONSE_CODE%",
  flags: "%RESPONSE_FLAGS%",
  details: "%RESPONSE_CODE_DETAILS%",
  connection_details: "%CONNECTION_TERMINATION_DETAILS%",
  bytes_received: "%BYTES_RECEIVED%",
  bytes_sent: "%BYTES_SENT%",
  duration_ms: "%DURATION%",
  first_byte_ms: "%RESPONSE_DURATION%",
  route: "%ROUTE_NAME%",
  cluster: "%UPSTREAM_CLUSTER%",
  upstream: "%UPSTREAM_HOST%",
  upstream_failure: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
  request_id: "%REQ(X-REQUEST-ID)%",
  forwarded_for: "%REQ(X-FORWARDED-FOR):512%",
  user_agent: "%REQ(USER-AGENT):512%",
} as const;

/** For a connection manager or a TCP proxy. */
export function accessLog(isOn: boolean): MessageInitShape<typeof AccessLogSchema>[] {
  if (!isOn) return [];
  const accessLogFormat = { case: "logFormat", value: { format: { case: "jsonFormat", value: FORMAT } } } as const;
  return [filter("stdout", StdoutAccessLogSchema, { accessLogFormat })];
}
