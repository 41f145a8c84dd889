/** Objects of the cases that no API server can hold, by case and key, with what it says instead. */
export const REFUSED: Readonly<Record<string, Readonly<Record<string, RegExp>>>> = {
  "external-name/address": { "Service/default/v6": /spec\.externalName: .* must consist of lower case alphanumeric/ },
  "external-name/invalid": {
    "Service/default/brackets": /spec\.externalName: .* must consist of lower case alphanumeric/,
    "Service/default/empty": /spec\.externalName: Required value/,
    "Service/default/port": /spec\.externalName: .* must consist of lower case alphanumeric/,
    "Service/default/url": /spec\.externalName: .* must consist of lower case alphanumeric/,
  },
  "external-name/loopback-in-files": Object.fromEntries(
    Array.from({ length: 9 }, (_, i) => [`Service/default/s${i}`, /spec\.externalName: .* must consist of lower case/]),
  ),
  "ingress/class-annotation-and-name": {
    "Ingress/default/field": /must match `ingressClassName` when both are specified/,
  },
  "ingress/class-name-empty": { "Ingress/default/empty": /spec\.ingressClassName: Invalid value: ""/ },
  "ingress/faulty": { "Ingress/default/shop": /pathType: Unsupported value: "Sideways"/ },
  "ingress/host-invalid": {
    "Ingress/default/none": /spec\.rules\[0\]\.host: Invalid value: "\$\{HOST\}"/,
    "Ingress/default/shop": /spec\.rules\[0\]\.host: Invalid value: "shop_\.example\.com"/,
  },
  "ingress/path-invalid": { "Ingress/default/shop": /path: Invalid value: "blog": must be an absolute path/ },
  "ingress/regex-without-slash": { "Ingress/default/shop": /path: Invalid value: "\*": must be an absolute path/ },
  "ingress/resource-v1beta1": { "Ingress/default/beta": /could not find the requested resource/ },
  "ingress/tls-delegated": {
    "Ingress/default/other": /spec\.tls\[0\]\.secretName: Invalid value: "certs\/private"/,
    "Ingress/default/shop": /spec\.tls\[0\]\.secretName: Invalid value: "certs\/tls"/,
  },
  "ingress/upper-case": { "Ingress/default/older": /spec\.rules\[0\]\.host: Invalid value: "Shop\.Example\.com"/ },
  "ingress/v1beta1": {
    "Ingress/default/old": /page not found/,
    "Ingress/default/shop": /could not find the requested resource/,
  },
  "ingress/without-backend": { "Ingress/default/empty": /either `defaultBackend` or `rules` must be specified/ },
  "ownership/unreadable-timestamp": { "IngressRoute/default/a": /parsing time "yesterday"/ },
  "reading/hostile-annotation": { "IngressRoute/default/shop": /metadata\.annotations: Invalid value: "__proto__"/ },
  "reading/metadata-wrong-types": {
    "IngressRoute/default/annotations": /cannot unmarshal array into .*ObjectMeta\.annotations/,
    "IngressRoute/default/class": /cannot unmarshal number into .*ObjectMeta\.annotations/,
    "IngressRoute/default/created": /cannot unmarshal number into .*ObjectMeta\.creationTimestamp/,
  },
  "reading/protective-field-in-metadata": { "IngressRoute/default/tls-in-metadata": /unknown field "metadata\.tls"/ },
  "reading/routes-under-metadata": {
    "IngressRoute/default/routes": /unknown field "metadata\.routes"/,
    "IngressRoute/default/spec": /unknown field "metadata\.spec"/,
  },
  "reading/service-wrong-types": {
    "Service/default/port": /cannot unmarshal string into .*ServicePort\.spec\.ports\.port/,
    "Service/default/ports": /cannot unmarshal string into .*ServiceSpec\.spec\.ports/,
    "Service/default/spec": /cannot unmarshal number into .*Service\.spec/,
  },
  "tls/secret-unreadable": {
    "Secret/default/base64": /illegal base64 data/,
    "Secret/default/no-key": /data\[tls\.key\]: Required value/,
  },
};
